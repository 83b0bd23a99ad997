"""A database that does not answer: 503 with Retry-After on every page, and a bug is still a bug."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.db import IntegrityError, OperationalError, connection
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, RequestFactory

from chat.protocol.errors import ChatError
from chat.web.unavailable import answer

AWAY = OperationalError('connection failed: connection to server at "db" failed: Connection refused')


@contextmanager
def every_query(error: Exception) -> Iterator[None]:
    def refuse(*_: object) -> None:
        raise error

    with connection.execute_wrapper(refuse):
        yield


@pytest.fixture
def browser(alice_user: User) -> Client:
    browser = Client(raise_request_exception=False)
    browser.force_login(alice_user)
    return browser


def check(response: HttpResponse) -> None:
    assert response.status_code == 503
    assert response["Retry-After"] == "2"
    assert response["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/", "/password/", "/admin/", "/admin/chat/run/"])
def test_every_page_says_so_and_logs_no_traceback(browser: Client, path: str, caplog: pytest.LogCaptureFixture) -> None:
    with every_query(AWAY):
        response = browser.get(path)
    check(response)  # type: ignore[arg-type]
    assert "Back in a moment" in response.content.decode()
    assert response["Content-Security-Policy"]
    assert [record for record in caplog.records if record.exc_info and record.name.startswith("chat")] == []


def test_a_sign_in_says_so_too(browser: Client) -> None:
    with every_query(AWAY):
        check(browser.post("/login/", {"username": "alice", "password": "x"}))  # type: ignore[arg-type]


def test_a_session_that_cannot_be_saved_says_so(client: Client, db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise AWAY

    client.raise_request_exception = False
    monkeypatch.setattr(SessionStore, "save", away)
    check(client.get("/"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "path, accept, json",
    [
        ("/", "text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("/", "*/*", False),
        ("/", "application/json", True),
        ("/", "application/json, text/html", False),
        ("/api/stream", "*/*", True),
    ],
)
def test_who_accepts_json_and_no_html_gets_json(path: str, accept: str, json: bool) -> None:
    response = answer(RequestFactory().get(path, headers={"accept": accept}), AWAY)
    assert response is not None
    check(response)
    assert (response["Content-Type"] == "application/json") == json
    if json:
        assert b'"code": "unavailable"' in response.content
        assert b'"retryable": true' in response.content


@pytest.mark.parametrize("error", [IntegrityError("UNIQUE constraint failed"), KeyError("a bug")])
def test_a_bug_is_500(browser: Client, error: Exception) -> None:
    with every_query(error):
        response = browser.get("/")
    assert response.status_code == 500
    assert "Something went wrong" in response.content.decode()


def test_what_the_engine_could_not_do_is_503_and_what_it_refused_is_not() -> None:
    request: HttpRequest = RequestFactory().get("/")
    assert answer(request, ChatError("unavailable", "later")) is not None
    assert answer(request, ChatError("not_found", "no")) is None
    assert answer(request, None) is None


@pytest.mark.django_db(transaction=True)
async def test_under_asgi_as_well(async_client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise AWAY

    async_client.raise_request_exception = False
    monkeypatch.setattr(SessionStore, "save", away)
    check(await async_client.get("/"))  # type: ignore[arg-type]


def test_the_request_log_is_silent_about_503_alone() -> None:
    request_log = logging.getLogger("django.request")
    for status, told in ((503, False), (500, True), (404, True)):
        record = request_log.makeRecord("django.request", logging.ERROR, "", 0, "%s", ("x",), None)
        record.status_code = status
        assert bool(request_log.filter(record)) == told
