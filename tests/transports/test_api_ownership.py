"""Every route under /api/ against everybody: what is not theirs does not exist for them."""

import json
from typing import Any, NamedTuple

import pytest

from tests.servers import ServerProcess
from tests.stored import Stored
from tests.tokens import give_token
from tests.transports.api_routes import OPEN, ROWS, Row, all_routes
from tests.transports.people import People, staff_of
from tests.transports.rest import Rest
from tests.upstream import Scenario
from tests.visitors import Visitor
from tests.wsclient import Client


class Caller(NamedTuple):
    rest: Rest
    owns: bool = False
    guest: bool = False
    token: bool = False
    reads_only: bool = False
    unproven: bool = False  # a cookie, and nothing that shows that our page sent it


async def things_of(server: ServerProcess, owner: Visitor) -> dict[str, str]:
    async with Client.connect(server.ws, cookie=owner.cookie, origin=server.origin) as client:
        accepted = await client.prompt(Scenario(chunks=1).prompt)
        await client.ended(accepted["run"])
    return {name: accepted[name] for name in ("session", "message", "run")}


def expected(row: Row, caller: Caller) -> int:
    if caller.unproven and row.is_change:
        return 403
    if caller.reads_only and row.is_change:
        return 403
    if (row.account and caller.guest) or (row.by_password and caller.token):
        return 403
    return row.status if caller.owns or not row.is_owned or row.same else 404


def ask(row: Row, caller: Caller, things: dict[str, str]) -> tuple[int, str]:
    def filled(text: str) -> str:
        for name, value in things.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    body = None if row.body is None else filled(json.dumps(row.body)).encode()
    proof = {} if row.csrf or caller.unproven else {"Origin": f"http://127.0.0.1:{caller.rest.port}"}
    answer = caller.rest.ask(row.method, filled(row.route) + row.query, body, **proof)
    return answer.status, answer.code if answer.status >= 400 and not row.plain else ""


def test_there_is_a_row_for_every_route() -> None:
    listed = {(row.method, row.route) for row in ROWS} | {("*", route) for route in OPEN}
    assert len(ROWS) + len(OPEN) == len(listed)
    assert all_routes() == listed


every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.method} {row.route.removeprefix('/api/')}")


@every_row
async def test_what_is_a_users(server: ServerProcess, people: People, stored: Stored, row: Row) -> None:
    alice, bob = people.alice, people.bob
    kept = give_token(stored, "alice")
    things = await things_of(server, alice) | {"token": str(kept.id)}
    strangers = {
        "bob": Caller(Rest(server, bob)),
        "charlie": Caller(Rest(server, people.charlie), guest=True),
        "nobody": Caller(Rest(server), guest=True),
        "staff": Caller(Rest(server, staff_of(server))),
        "bob's token": Caller(Rest(server, give_token(stored, "bob")), token=True),
    }
    refused = {
        "without csrf": Caller(Rest(server, alice, **{"X-CSRFToken": ""}), owns=True, unproven=True),
        "wrong csrf": Caller(Rest(server, alice, **{"X-CSRFToken": "x" * 32}), owns=True, unproven=True),
        "foreign page": Caller(Rest(server, alice, Origin="http://evil.example"), owns=True, unproven=True),
    }
    owners = {
        "read token": Caller(Rest(server, give_token(stored, "alice", "read")), owns=True, token=True, reads_only=True),
        "write token": Caller(Rest(server, give_token(stored, "alice")), owns=True, token=True),
        "alice": Caller(Rest(server, alice), owns=True),
    }
    before = snapshot(stored, things)
    for name, caller in (strangers | refused).items():
        status, code = ask(row, caller, things)
        assert status == expected(row, caller), (name, status, code)
    if row.is_owned:
        assert snapshot(stored, things) == before
    for name, caller in owners.items():
        if row.method == "DELETE":
            things = await things_of(server, alice) | {"token": str(give_token(stored, "alice").id)}
        status, code = ask(row, caller, things)
        assert status == expected(row, caller), (name, status, code)


@every_row
async def test_what_is_a_guests(server: ServerProcess, people: People, stored: Stored, row: Row) -> None:
    things = await things_of(server, people.charlie) | {"token": "01900000-0000-7000-8000-000000000001"}
    before = snapshot(stored, things)
    for name, caller in {
        "dora": Caller(Rest(server, people.dora), guest=True),
        "nobody": Caller(Rest(server), guest=True),
        "alice": Caller(Rest(server, people.alice)),
        "alice's token": Caller(Rest(server, give_token(stored, "alice")), token=True),
        "charlie unproven": Caller(Rest(server, people.charlie, **{"X-CSRFToken": ""}), True, True, unproven=True),
    }.items():
        status, code = ask(row, caller, things)
        assert status == expected(row, caller), (name, status, code)
    if row.is_owned:
        assert snapshot(stored, things) == before
    charlie = Caller(Rest(server, people.charlie), owns=True, guest=True)
    assert ask(row, charlie, things)[0] == expected(row, charlie)


@every_row
async def test_without_guests_nobody_is_let_in(strict: ServerProcess, row: Row) -> None:
    things = dict.fromkeys(("session", "message", "run", "token"), "01900000-0000-7000-8000-000000000001")
    for rest in (Rest(strict), Rest(strict, Authorization="Bearer tw_made-up"), Rest(strict, Cookie="sessionid=x")):
        status, code = ask(row, Caller(rest), things)
        # A cookie, whatever it holds, needs its proof first.
        assert (status, code) == (401, "" if row.plain else "unauthenticated") or (
            (status, "Cookie" in rest.headers) == (403, True)
        )


def test_what_is_open_says_nothing_of_anybody(strict: ServerProcess) -> None:
    for path, status in (("/api/docs", 200), ("/api/openapi.json", 200), ("/api/", 404)):
        assert Rest(strict).ask("GET", path).status == status


def snapshot(stored: Stored, things: dict[str, Any]) -> list[Any]:
    """All that is stored of the things that nobody may have touched."""
    columns = {"session": "chat_chatsession", "message": "chat_message", "run": "chat_run", "token": "chat_apitoken"}
    return [
        stored.rows(f"SELECT * FROM {table} WHERE id = ?", things[name].replace("-", ""))
        for name, table in columns.items()
    ]
