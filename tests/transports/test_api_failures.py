"""What fails under /api/ without the client's doing: JSON with the fitting status, and nothing of the inside."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from django.db import IntegrityError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient
from django.urls import include, path
from pytest_django import Settings

from chat.api import errors
from chat.runs import sessions
from chat.transports import desk, http

AWAY = OperationalError('connection failed: connection to server at "db" failed: Connection refused')
SECRET = "what nobody should read"


async def broken(request: HttpRequest) -> HttpResponse:
    raise RuntimeError(SECRET)


urlpatterns = [path("api/broken", broken), path("", include("config.urls"))]
handler500 = "chat.web.unavailable.server_error"


@pytest_asyncio.fixture
async def browser(transactional_db: None, settings: Settings) -> AsyncIterator[AsyncClient]:
    settings.CHAT_GUESTS = True
    settings.ROOT_URLCONF = __name__
    await desk.start_desk()
    yield AsyncClient(raise_request_exception=False)
    await desk.close_desk()


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def check(response: Any, status: int, code: str) -> None:
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert response["Content-Type"] == "application/json"
    assert SECRET not in response.content.decode()
    assert "Traceback" not in response.content.decode()
    assert (response.get("Retry-After") is not None) == (status == 503)


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize(
    "error, status, code",
    [
        (AWAY, 503, "unavailable"),
        (IntegrityError(SECRET), 503, "unavailable"),
        (KeyError(SECRET), 500, "internal"),
        (TypeError(SECRET), 500, "internal"),
    ],
    ids=["away", "a constraint", "a bug", "another"],
)
async def test_an_operation_that_fails(
    browser: AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    debug: bool,
    error: Exception,
    status: int,
    code: str,
) -> None:
    settings.DEBUG = debug
    monkeypatch.setattr(sessions, "listed", failing(error))
    check(await browser.get("/api/sessions"), status, code)


async def test_a_sign_in_that_cannot_be_looked_up(browser: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "identify", failing(AWAY))
    check(await browser.get("/api/sessions"), 503, "unavailable")


async def test_what_fails_past_the_engine(browser: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    for error, status, code in ((AWAY, 503, "unavailable"), (ValueError(SECRET), 500, "internal")):
        monkeypatch.setattr(sessions, "create", failing(error))
        check(await browser.post("/api/sessions", {}, content_type="application/json"), status, code)
        browser.cookies.clear()  # a guest's would need its proof


@pytest.mark.parametrize("debug", [False, True])
async def test_a_view_of_its_own_that_fails(browser: AsyncClient, settings: Settings, debug: bool) -> None:
    settings.DEBUG = debug
    check(await browser.get("/api/broken"), 500, "internal")


async def test_a_host_that_is_not_ours(browser: AsyncClient) -> None:
    check(await browser.get("/api/sessions", headers={"host": "evil.example"}), 400, "bad_frame")


async def test_a_query_of_too_many_fields(browser: AsyncClient) -> None:
    check(await browser.get(f"/api/search?{'q=x&' * 1001}"), 400, "bad_frame")
    assert (await browser.get(f"/api/chat?{'chatId=x&' * 1001}")).status_code == 400


async def test_a_process_that_ends(browser: AsyncClient) -> None:
    await desk.close_desk()
    check(await browser.get("/api/sessions"), 503, "unavailable")


def test_pages_keep_their_own_errors() -> None:
    request = HttpRequest()
    for path_, kept in (("/", True), ("/apix", True), ("/api/x", False)):
        request.path_info = path_
        response = HttpResponse("<h1>No</h1>", status=404)
        assert (errors.in_json(request, response) is response) == kept
