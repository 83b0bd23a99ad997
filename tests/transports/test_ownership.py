"""What is somebody else's cannot be told from what does not exist, and stays as it is."""

import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import pytest_asyncio

from tests.servers import ServerProcess
from tests.stored import Stored
from tests.transports.people import People
from tests.upstream import Scenario
from tests.wsclient import Client, Frame


class Things(NamedTuple):
    """A chat session of one person: an ended run and one that goes on."""

    session: str
    user_message: str
    message: str
    run: str
    live_run: str


OPERATIONS: dict[str, tuple[str, Any]] = {
    "send": ("prompt.send", lambda t: {"text": "x", "session": t.session}),
    "send after": ("prompt.send", lambda t: {"text": "x", "session": t.session, "parent": t.message}),
    "send first": ("prompt.send", lambda t: {"text": "x", "session": t.session, "parent": None}),
    "regenerate": ("message.regenerate", lambda t: {"message": t.message}),
    "regenerate a prompt": ("message.regenerate", lambda t: {"message": t.user_message}),
    "follow": ("run.follow", lambda t: {"run": t.run}),
    "follow live": ("run.follow", lambda t: {"run": t.live_run, "after": 1}),
    "follow beyond": ("run.follow", lambda t: {"run": t.run, "after": 1_000_000}),
    "unfollow": ("run.unfollow", lambda t: {"run": t.run}),
    "stop": ("run.stop", lambda t: {"run": t.run}),
    "stop live": ("run.stop", lambda t: {"run": t.live_run}),
    "open": ("session.open", lambda t: {"session": t.session}),
    "open a page": ("session.open", lambda t: {"session": t.session, "before": t.message}),
    "close": ("session.close", lambda t: {"session": t.session}),
    "select": ("branch.select", lambda t: {"session": t.session, "message": t.message}),
}
STRANGERS = ("bob", "charlie", "dora", "nobody")


@pytest_asyncio.fixture
async def everybody(server: ServerProcess, people: People) -> AsyncIterator[dict[str, Client]]:
    async with AsyncExitStack() as stack:
        clients = {"nobody": await stack.enter_async_context(Client.connect(server.ws))}
        for name, visitor in people._asdict().items():
            connecting = Client.connect(server.ws, cookie=visitor.cookie, origin=server.origin)
            clients[name] = await stack.enter_async_context(connecting)
        yield clients


async def things_of(client: Client) -> Things:
    ended = await client.prompt(Scenario(seed="o", chunks=2).prompt)
    await client.ended(ended["run"])
    slow = Scenario(seed="live", chunks=10_000, rate=10).prompt
    live = await client.prompt(slow, session=ended["session"])
    return Things(ended["session"], ended["user_message"], ended["message"], ended["run"], live["run"])


def random_things() -> Things:
    return Things(*(str(uuid.uuid4()) for _ in Things._fields))


def without_id(error: Frame) -> Frame:
    return {name: value for name, value in error.items() if name != "re"}


async def test_no_operation_tells_or_changes_anything_of_a_stranger(
    everybody: dict[str, Client], stored: Stored
) -> None:
    alice = everybody["alice"]
    things = await things_of(alice)
    before = rows_of(stored, things)
    for stranger in STRANGERS:
        client = everybody[stranger]
        for name, (type_, fields) in OPERATIONS.items():
            error = await client.ask(type_, **fields(things))
            assert (error["type"], error["code"]) == ("error", "not_found"), (stranger, name)
            unknown = await client.ask(type_, **fields(random_things()))
            assert without_id(error) == without_id(unknown), (stranger, name)
        await client.send("ack", run=things.live_run, seq=1)
        assert await client.quiet() == []
    assert rows_of(stored, things) == before
    await alice.ask("run.stop", run=things.live_run)
    await alice.ended(things.live_run)


async def test_a_users_session_takes_no_message_of_anybody_else(everybody: dict[str, Client], stored: Stored) -> None:
    alice, bob = everybody["alice"], everybody["bob"]
    hers, his = await things_of(alice), await things_of(bob)
    before = rows_of(stored, hers), rows_of(stored, his)
    for message in (hers.message, hers.user_message):
        for type_, fields in (
            ("prompt.send", {"text": "x", "session": his.session, "parent": message}),
            ("branch.select", {"session": his.session, "message": message}),
            ("session.open", {"session": his.session, "before": message}),
        ):
            error = await bob.ask(type_, **fields)
            assert error["code"] == "not_found", type_
            key = next(name for name, value in fields.items() if value == message)
            unknown = await bob.ask(type_, **{**fields, "id": "u", key: str(uuid.uuid4())})
            assert without_id(error) == without_id(unknown)
    assert (rows_of(stored, hers), rows_of(stored, his)) == before
    for client, things in ((alice, hers), (bob, his)):
        await client.ask("run.stop", run=things.live_run)
        await client.ended(things.live_run)


def rows_of(stored: Stored, things: Things) -> list[Any]:
    session = things.session.replace("-", "")
    live = things.live_run.replace("-", "")
    return [
        stored.rows("SELECT title, model, active_leaf_id, owner_id FROM chat_chatsession WHERE id = ?", session),
        stored.rows("SELECT id, status, stop_requested, attempt FROM chat_run WHERE session_id = ?", session),
        stored.rows(
            "SELECT m.id, m.status, m.text FROM chat_message m JOIN chat_run r ON r.message_id = m.id "
            "WHERE m.session_id = ? AND r.id <> ?",
            session,
            live,
        ),
        stored.value("SELECT count(*) FROM chat_message WHERE session_id = ?", session),
        stored.value("SELECT count(*) FROM chat_chatsession"),
    ]
