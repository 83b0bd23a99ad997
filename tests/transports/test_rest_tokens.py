"""API tokens over REST: shown once, never wider than who made them, and at an end when they are revoked."""

import asyncio
from datetime import datetime, timedelta

import pytest

from tests.servers import ServerProcess
from tests.stored import Stored
from tests.tokens import Token, give_token
from tests.transports.people import People
from tests.transports.rest import Rest
from tests.wsclient import Client


@pytest.fixture
def alice(server: ServerProcess, people: People) -> Rest:
    return Rest(server, people.alice)


def with_secret(server: ServerProcess, secret: str) -> Rest:
    return Rest(server, Authorization=f"Bearer {secret}")


def test_it_is_shown_once_and_works(server: ServerProcess, alice: Rest, stored: Stored) -> None:
    made = alice.post("/api/tokens", {"name": " My\nscript ", "scope": "read", "expires_in_days": 30})
    secret = made.pop("token")
    assert secret.startswith(made["shown"])
    assert (made["name"], made["scope"], made["last_used"]) == ("My script", "read", None)
    created, expires = (datetime.fromisoformat(made[name]) for name in ("created", "expires"))
    assert timedelta(days=30) - timedelta(minutes=1) < expires - created <= timedelta(days=30)
    reader = with_secret(server, secret)
    assert reader.get("/api/sessions") == alice.get("/api/sessions")
    [listed] = [each for each in alice.get("/api/tokens")["tokens"] if each["id"] == made["id"]]
    assert listed.pop("last_used") is not None
    assert listed == {name: value for name, value in made.items() if name != "last_used"}
    assert (
        secret.encode() not in stored.database.read_bytes() + stored.database.with_suffix(".sqlite3-wal").read_bytes()
    )


def test_it_never_ends_unless_told_to(alice: Rest) -> None:
    assert alice.post("/api/tokens", {"name": "For ever"})["expires"] is None


@pytest.mark.parametrize(
    "body, field",
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "x", "scope": "admin"}, "scope"),
        ({"name": "x", "expires_in_days": 0}, "expires_in_days"),
        ({"name": "x", "expires_in_days": 1e300}, "expires_in_days"),
    ],
    ids=str,
)
def test_what_is_wrong_makes_none(alice: Rest, body: dict[str, object], field: str) -> None:
    before = alice.get("/api/tokens")
    answer = alice.ask("POST", "/api/tokens", body)
    assert (answer.status, answer.code, answer.body["error"]["field"]) == (400, "bad_frame", field)
    assert alice.get("/api/tokens") == before


@pytest.mark.parametrize("scope", ["read", "write"])
def test_a_token_makes_no_token(server: ServerProcess, people: People, stored: Stored, scope: str) -> None:
    rest = Rest(server, give_token(stored, "alice", scope))
    assert rest.ask("POST", "/api/tokens", {"name": "child", "scope": "read"}).code == "forbidden"


async def test_revoking_closes_its_sockets_and_no_others(server: ServerProcess, alice: Rest) -> None:
    made, kept = (alice.post("/api/tokens", {"name": name}) for name in ("gone", "kept"))
    async with (
        Client.connect(server.ws, headers={"Authorization": f"Bearer {made['token']}"}) as gone,
        Client.connect(server.ws, headers={"Authorization": f"Bearer {kept['token']}"}) as stays,
    ):
        await asyncio.to_thread(alice.delete, f"/api/tokens/{made['id']}")
        async with asyncio.timeout(5):
            assert await gone.closed() == 4401
        assert (await stays.ask("ping"))["type"] == "pong"
    assert with_secret(server, made["token"]).ask("GET", "/api/models").code == "unauthenticated"
    assert alice.ask("DELETE", f"/api/tokens/{made['id']}").code == "not_found"


def test_a_token_of_the_scope_write_revokes_itself(server: ServerProcess, people: People, stored: Stored) -> None:
    token: Token = give_token(stored, "alice")
    rest = Rest(server, token)
    rest.delete(f"/api/tokens/{token.id}")
    assert rest.ask("GET", "/api/tokens").code == "unauthenticated"


def test_there_is_an_end_to_them(server: ServerProcess, people: People, stored: Stored) -> None:
    bob = Rest(server, people.bob)
    have = len(bob.get("/api/tokens")["tokens"])
    for _ in range(100 - have):
        give_token(stored, "bob")
    answer = bob.ask("POST", "/api/tokens", {"name": "one more"})
    assert (answer.status, answer.code) == (409, "conflict")
    stored.change("DELETE FROM chat_apitoken WHERE name = 'of a test'")
    bob.post("/api/tokens", {"name": "one more"})
