import re
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, RequestFactory

from chat.runs.owner import Owner
from chat.web.policy import ContentSecurityPolicy
from tests.web.conversations import conversation
from tests.web.html import Page

STATIC = Path(__file__).resolve().parents[2] / "static" / "chat"


def directives(response: HttpResponse) -> dict[str, str]:
    parts = (part.split(" ", 1) for part in response.headers["Content-Security-Policy"].split("; "))
    return {part[0]: part[-1] for part in parts}


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/", "/login/", "/signup/", "/nothing/", "/admin/login/"])
def test_every_page_has_the_policy(client: Client, path: str) -> None:
    found = directives(client.get(path))  # type: ignore[arg-type]
    assert found["default-src"] == "'self'"
    assert re.fullmatch(r"'self' 'nonce-[\w-]{20,}'", found["script-src"])
    assert found["style-src"] == found["form-action"] == "'self'"
    assert found["object-src"] == found["base-uri"] == found["frame-ancestors"] == "'none'"
    assert found["img-src"] == "'self' data:"
    assert found["connect-src"] == "'self' ws://testserver wss://testserver"


@pytest.mark.django_db
def test_the_page_keeps_other_sites_out_of_its_window(client: Client) -> None:
    response = client.get("/")
    assert response["Cross-Origin-Opener-Policy"] == "same-origin"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Referrer-Policy"] == "same-origin"


@pytest.mark.django_db
def test_every_response_has_a_nonce_of_its_own_and_uses_it(client: Client) -> None:
    first, second = client.get("/"), client.get("/")
    assert first["Content-Security-Policy"] != second["Content-Security-Policy"]
    (inline,) = [tag for tag in Page(first.content.decode()).attributes("script") if "src" not in tag]
    assert f"'nonce-{inline['nonce']}'" in first["Content-Security-Policy"]


@pytest.mark.django_db
def test_no_page_has_inline_handlers_or_styles(client: Client, alice_user: User, alice: Owner) -> None:
    client.force_login(alice_user)
    for path in ["/", f"/c/{conversation(alice).id}/", "/login/", "/signup/", "/password/", "/nothing/"]:
        for tag, attributes in Page(client.get(path).content.decode()).tags:
            assert tag != "style"
            assert not [name for name in attributes if name.startswith("on") or name == "style"]


def test_a_host_that_is_not_allowed_gets_no_place_in_the_policy(client: Client) -> None:
    response = client.get("/", headers={"host": "evil.example; script-src *"})
    assert response.status_code == 400
    assert "evil" not in response["Content-Security-Policy"]


async def test_it_stays_async_among_async_middleware() -> None:
    async def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.csp_nonce)  # type: ignore[attr-defined]

    response = await ContentSecurityPolicy(view)(RequestFactory().get("/"))  # type: ignore[misc]
    assert f"'nonce-{response.content.decode()}'" in response.headers["Content-Security-Policy"]


@pytest.mark.django_db(transaction=True)
async def test_the_page_works_under_asgi(async_client: AsyncClient) -> None:
    response = await async_client.get("/")
    assert response.status_code == 200
    assert "script-src" in response["Content-Security-Policy"]


def test_no_script_makes_markup_of_text() -> None:
    forbidden = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|eval\(|new Function")
    for file in (STATIC / "js").glob("*.js"):
        assert not forbidden.search(file.read_text()), file.name


@pytest.mark.django_db
def test_the_import_map_names_every_module(client: Client) -> None:
    html = client.get("/").content.decode()
    for file in (STATIC / "js").glob("*.js"):
        assert f"/static/chat/js/{file.name}" in html
