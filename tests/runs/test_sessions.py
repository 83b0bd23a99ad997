"""The verbs of chat sessions at their floor: what they cost at scale, and deletion against everything at once."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from chat.models import ChatSession, Message, Run, RunEvent
from chat.protocol.errors import ChatError
from chat.runs import paging, sessions, usage
from chat.runs.engine import Engine
from chat.runs.notices import SessionNotice, StopRun
from chat.runs.owner import Owner
from tests.fakes import ScriptedProvider
from tests.runs.helpers import Client, ask, until, wait_ended

MANY = 10_000
# The promise is 20 ms; what a loaded machine may add must not fail a test of the plan.
LIST_SECONDS = 0.1


@pytest.fixture
def many(alice: Owner, bob: Owner) -> list[ChatSession]:
    """Alice's, every tenth of them not archived, three at each instant; and some of Bob's amid them."""
    now = timezone.now()
    made = [
        ChatSession(owner_id=owner.user, title=f"Chat {number}", archived=number % 10 != 0, system_prompt="x" * 1000)
        for owner, most in ((alice, MANY), (bob, 500))
        for number in range(most)
    ]
    for number, session in enumerate(made):
        session.updated = now - timedelta(seconds=number % MANY // 3)
    # Past auto_now, which would make them all of this moment.
    ChatSession._meta.get_field("updated").auto_now = False
    try:
        ChatSession.objects.bulk_create(made)
    finally:
        ChatSession._meta.get_field("updated").auto_now = True
    return made[:MANY]


def cost(call: Callable[[], Any]) -> tuple[Any, list[str], float]:
    with CaptureQueriesContext(connection) as captured:
        result = call()
    begun = time.perf_counter()
    call()
    return result, [query["sql"] for query in captured], time.perf_counter() - begun


def plan(sql: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN QUERY PLAN " + sql.replace("%", "%%"))
        return "; ".join(row[-1] for row in cursor.fetchall())


def test_a_page_of_ten_thousand_is_one_query_by_an_index(alice: Owner, many: list[ChatSession]) -> None:
    for archived in (None, False, True):
        check_pages(alice, many, archived)


def check_pages(alice: Owner, many: list[ChatSession], archived: bool | None) -> None:
    expected = [session for session in many if archived in {None, session.archived}]
    cursor, found = None, 0
    for depth in range(4):
        call = lambda: sessions.listed(alice, archived=archived, cursor=cursor, most=50)  # noqa: B023, E731
        (page, cursor), queries, seconds = cost(call)
        assert len(queries) == 1
        assert "USING INDEX chatsession_of_owner (owner_id=?" in plan(queries[0])
        assert ("updated<?" in plan(queries[0])) == (depth > 0)
        assert "system_prompt" not in queries[0]
        assert seconds < LIST_SECONDS
        assert {session.id for session in page} <= {session.id for session in expected}
        found += len(page)
    assert found == 200


def test_pages_are_whole_and_in_order_where_many_have_one_time(alice: Owner, many: list[ChatSession]) -> None:
    cursor, found = None, list[ChatSession]()
    while True:
        page, cursor = sessions.listed(alice, archived=False, cursor=cursor, most=100)
        found += page
        if cursor is None:
            break
    assert [(each.updated, each.id) for each in found] == sorted(((e.updated, e.id) for e in found), reverse=True)
    assert {each.id for each in found} == {each.id for each in many if not each.archived}


@pytest.mark.parametrize(
    "cursor", ["", "-", "1", "x-" + "0" * 32, "f" * 40 + "-" + "0" * 32, "1-0-0", "-1-" + "0" * 32]
)
def test_what_is_no_cursor_is_refused(alice: Owner, cursor: str) -> None:
    with pytest.raises(ChatError) as caught:
        paging.page(alice.sessions(), "updated", cursor, 10)
    assert (caught.value.code, caught.value.field) == ("bad_frame", "cursor")


def test_usage_is_one_query_by_an_index(alice: Owner, bob: Owner) -> None:
    day = datetime(2026, 3, 1, 23, 59, 59, 999_999, tzinfo=UTC)
    for owner, created, model, tokens in (
        (alice, day, "m1", 5),
        (alice, day, "m1", 7),
        (alice, day, "m2", 1),
        (alice, day + timedelta(microseconds=1), "m1", None),
        (alice, day - timedelta(days=1), "m1", 100),
        (bob, day, "m1", 1000),
    ):
        session = ChatSession.objects.create(owner_id=owner.user)
        message = Message.objects.create(session=session, role="assistant")
        run = Run.objects.create(session=session, message=message, model=model, requester=owner.requester)
        Run.objects.filter(id=run.id).update(created=created, output_tokens=tokens, usage_estimated=tokens == 7)
    first = day.date()
    found, queries, _ = cost(lambda: usage.by_day(alice, first, first + timedelta(days=1)))
    assert [(each.day.day, each.model, each.runs, each.output_tokens, each.estimated_runs) for each in found] == [
        (2, "m1", 1, 0, 0),
        (1, "m1", 2, 12, 1),
        (1, "m2", 1, 1, 0),
    ]
    assert len(queries) == 1
    assert "USING INDEX run_of_requester (requester=? AND created>? AND created<?)" in plan(queries[0])


async def test_deleting_ends_the_run_and_its_upstream(engine: Engine, alice: Owner, provider: ScriptedProvider) -> None:
    provider.script = ["Half", asyncio.Event()]
    heard: list[Any] = []
    engine.listeners.append(heard.append)
    accepted = await ask(engine, alice)
    client = Client(engine, alice, accepted.run)
    while client.answer.text != "Half":
        assert await client.step()
    await sessions.delete(engine, alice, accepted.session)
    await client.read()
    assert client.ended is not None
    assert client.ended.type == "run.stopped"
    # Also while its task here has not come to its end.
    with pytest.raises(ChatError):
        await engine.follow(alice, accepted.run)
    await until(lambda: not engine.generations)
    assert provider.closed == provider.opened == 1
    assert [await model.objects.acount() for model in (ChatSession, Message, Run, RunEvent)] == [0, 0, 0, 0]
    assert [n.changes for n in heard if isinstance(n, SessionNotice)][-1] == {"deleted": True}
    assert StopRun(str(accepted.run)) in heard


async def test_deleting_while_it_streams_leaves_nothing_behind(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    """At any moment of a stream that never pauses: no event without its run, no follower that waits for ever."""
    provider.script = [f"word {number} " for number in range(3000)]
    for steps in range(0, 60, 4):
        accepted = await ask(engine, alice)
        follower = await engine.follow(alice, accepted.run)
        for _ in range(steps):
            await asyncio.sleep(0)
        await sessions.delete(engine, alice, accepted.session)
        async with asyncio.timeout(5):
            async for _ in follower:
                pass
    await until(lambda: not engine.generations)
    assert await ChatSession.objects.acount() == await RunEvent.objects.acount() == 0
    assert provider.closed == provider.opened


async def test_a_prompt_and_a_deletion_at_once_are_one_after_the_other(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    for _ in range(10):
        first = await ask(engine, alice)
        await wait_ended(engine, alice, first.run)
        asked, deleted = await asyncio.gather(
            ask(engine, alice, session=first.session),
            sessions.delete(engine, alice, first.session),
            return_exceptions=True,
        )
        assert deleted is None
        if isinstance(asked, BaseException):
            assert isinstance(asked, ChatError)
            assert asked.code == "not_found"
        assert not await Run.objects.filter(session=first.session).aexists()


async def test_nobody_changes_or_deletes_what_is_anothers(
    engine: Engine, alice: Owner, bob: Owner, charlie: Owner
) -> None:
    made = await sessions.create(engine, alice, sessions.Changes(title="Mine"))
    for other in (bob, charlie):
        for work in (
            sessions.delete(engine, other, made.id),
            sessions.change(engine, other, made.id, sessions.Changes(title="Theirs")),
        ):
            with pytest.raises(ChatError) as caught:
                await work
            assert caught.value.code == "not_found"
    stored = await ChatSession.objects.aget()
    assert (stored.title, stored.titled_by) == ("Mine", "user")


async def test_a_change_touches_nothing_else(engine: Engine, alice: Owner) -> None:
    accepted = await ask(engine, alice)
    await wait_ended(engine, alice, accepted.run)
    before = await ChatSession.objects.aget()
    await sessions.change(engine, alice, before.id, sessions.Changes(title="Named", model="beta", archived=True))
    after = await ChatSession.objects.aget()
    assert (after.title, after.model, after.archived, after.titled_by) == ("Named", "beta", True, "user")
    assert (after.updated, after.active_leaf_id) == (before.updated, before.active_leaf_id)
    await sessions.change(engine, alice, before.id, sessions.Changes(title=""))
    assert (await ChatSession.objects.aget()).titled_by == "prompt"
    await sessions.change(engine, alice, before.id, sessions.Changes())
