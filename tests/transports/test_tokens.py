"""API tokens instead of cookies: over the WebSocket and under /api/."""

import asyncio
import http.client
import json
from email.message import Message
from typing import Any

import pytest

from tests.rawsocket import RawSocket
from tests.servers import ServerProcess
from tests.stored import Stored
from tests.tokens import give_token, revoke
from tests.transports.people import People
from tests.transports.rest import Rest
from tests.upstream import Scenario
from tests.visitors import Visitor
from tests.wsclient import Client

FOREIGN = {"Origin": "http://evil.example"}


def get(server: ServerProcess, path: str, **headers: str) -> tuple[int, Any, Message]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read()), response.headers
    finally:
        connection.close()


@pytest.mark.parametrize("origin", [None, "http://evil.example", "null"])
async def test_a_token_is_let_in_from_anywhere(
    server: ServerProcess, people: People, stored: Stored, origin: str | None
) -> None:
    token = give_token(stored, "alice")
    async with Client.connect(server.ws, headers=token.headers, origin=origin) as client:
        assert client.hello["user"] == {"name": "alice", "guest": False}
        accepted = await client.prompt(Scenario(chunks=3).prompt)
        assert (await client.ended(accepted["run"])).text


async def test_a_token_goes_before_a_cookie(server: ServerProcess, people: People, stored: Stored) -> None:
    token = give_token(stored, "alice")
    async with Client.connect(server.ws, cookie=people.bob.cookie, headers=token.headers) as client:
        assert client.hello["user"]["name"] == "alice"


async def test_who_may_only_read_changes_nothing(server: ServerProcess, people: People, stored: Stored) -> None:
    async with Client.connect(server.ws, headers=give_token(stored, "alice").headers) as writer:
        accepted = await writer.prompt(Scenario(chunks=3).prompt)
        await writer.ended(accepted["run"])
    run, session, message = accepted["run"], accepted["session"], accepted["message"]
    before = stored.counts()
    token = give_token(stored, "alice", "read")
    async with Client.connect(server.ws, headers=token.headers) as client:
        for type_, fields in (
            ("prompt.send", {"text": "Hello"}),
            ("run.stop", {"run": run}),
            ("message.regenerate", {"message": message}),
            ("branch.select", {"session": session, "message": message}),
        ):
            reply = await client.ask(type_, **fields)
            assert (reply["type"], reply["code"], reply["retryable"]) == ("error", "forbidden", False)
        assert (await client.ask("run.follow", run=run))["type"] == "ok"
        assert (await client.ask("session.open", session=session))["type"] == "session.state"
    assert stored.counts() == before


async def test_a_revoked_token_closes_its_sockets_alone(strict: ServerProcess) -> None:
    """Revoked past every signal of Django, so that only the timer finds it: `strict` looks every second."""
    user, stored = Visitor(strict.port).sign_up(), Stored(strict.database)
    revoked, other = give_token(stored, user.name), give_token(stored, user.name)
    async with (
        Client.connect(strict.ws, headers=revoked.headers) as gone,
        Client.connect(strict.ws, headers=other.headers) as stays,
    ):
        revoke(stored, revoked)
        async with asyncio.timeout(5):
            assert await gone.closed() == 4401
        assert (await stays.ask("ping"))["type"] == "pong"


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer made-up", "bearer tw_x y", "tw_x"])
def test_what_is_no_token_is_refused_and_no_guest(server: ServerProcess, value: str) -> None:
    with RawSocket(server.port, f"Authorization: {value}") as raw:
        assert raw.status == 403
    status, body, headers = get(server, "/api/models", Authorization=value)
    assert (status, body["error"]["code"], headers["WWW-Authenticate"]) == (401, "unauthenticated", "Bearer")


def test_two_authorizations_are_refused(server: ServerProcess, people: People, stored: Stored) -> None:
    line = f"Authorization: Bearer {give_token(stored, 'alice').secret}"
    with RawSocket(server.port, line, line) as raw:
        assert raw.status == 403


def test_an_expired_token_is_refused(server: ServerProcess, people: People, stored: Stored) -> None:
    token = give_token(stored, "alice", expires="2020-01-01 00:00:00")
    status, body, _ = get(server, "/api/models", **token.headers)
    assert (status, body["error"]["code"]) == (401, "unauthenticated")


def test_who_asks_the_api(server: ServerProcess, strict: ServerProcess, people: People, stored: Stored) -> None:
    token = give_token(stored, "alice", "read")
    for headers in (token.headers | FOREIGN, {"Cookie": people.bob.cookie}, {"Cookie": people.dora.cookie}):
        status, models, answered = get(server, "/api/models", **headers)
        assert status == 200
        assert [model["id"] for model in models] == ["test-model", "test-small"]
        assert [model["default"] for model in models] == [True, False]
        assert "Set-Cookie" not in answered
    assert get(strict, "/api/models")[0] == 401
    assert get(strict, f"/api/models?token={token.secret}")[0] == 401  # never from a URL


def test_a_guest_is_given_a_cookie_when_there_is_something_to_come_back_to(
    server: ServerProcess, stored: Stored
) -> None:
    before = stored.value("SELECT count(*) FROM django_session")
    answer = Rest(server).ask("GET", "/api/models")
    assert (answer.status, answer.headers["Set-Cookie"]) == (200, None)
    assert stored.value("SELECT count(*) FROM django_session") == before
    answer = Rest(server).ask("POST", "/api/text", {"prompt": Scenario(chunks=1).prompt})
    assert (answer.status, "sessionid=" in answer.headers["Set-Cookie"]) == (200, True)
