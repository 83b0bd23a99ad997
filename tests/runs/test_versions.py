"""Two versions side by side: events in the log that this version does not know, written by a newer one that died."""

import asyncio
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from pytest_django.fixtures import Settings

from chat.models import Run, RunEvent
from chat.protocol.answer import Answer
from chat.runs import follow
from chat.runs.engine import Engine
from chat.runs.owner import Owner
from tests.fakes import ScriptedProvider
from tests.runs.helpers import Client, acheck, ask, collect, crash, expire, wait_ended

UNKNOWN = ("weather.changed", '{"sky":"clear"}')


async def left_behind(engine: Engine, owner: Owner, provider: ScriptedProvider) -> UUID:
    """A run whose worker wrote text and an event of its own version, and died."""
    provider.script = ["Old text", asyncio.Event()]
    run = (await ask(engine, owner)).run
    client = Client(engine, owner, run)
    while client.answer.text != "Old text":
        assert await client.step()
    await crash(engine)
    await _append(run, client.answer.seq + 1)
    await expire(run)
    return run


@sync_to_async
def _append(run: UUID, seq: int) -> None:
    type_, data = UNKNOWN
    RunEvent.objects.create(run=Run.objects.get(id=run), seq=seq, type=type_, data=data)


async def test_a_run_is_taken_over_from_a_newer_version(
    make_engine: Any, alice: Owner, provider: ScriptedProvider
) -> None:
    run = await left_behind(await make_engine(), alice, provider)
    provider.script = ["New text"]
    engine = await make_engine()
    assert (await wait_ended(engine, alice, run)).status == "completed"
    events = await collect(engine, alice, run)
    kinds = [event.type for event in events]
    assert kinds == ["run.started", "text.delta", UNKNOWN[0], "run.restarted", "text.delta", "run.completed"]
    assert [event.seq for event in events] == list(range(1, 7))
    assert Answer().apply(events).text == "New text"
    await acheck(run)


async def test_a_run_of_a_newer_version_ends_with_its_text(
    make_engine: Any, alice: Owner, provider: ScriptedProvider, settings: Settings
) -> None:
    settings.CHAT_MAX_ATTEMPTS = 1
    run = await left_behind(await make_engine(), alice, provider)
    ended = await wait_ended(await make_engine(), alice, run)
    assert (ended.status, ended.message.text) == ("failed", "Old text")
    await acheck(run)


async def test_a_snapshot_counts_what_it_does_not_know(
    make_engine: Any, alice: Owner, provider: ScriptedProvider
) -> None:
    run = await left_behind(await make_engine(), alice, provider)
    found = await sync_to_async(follow.snapshot)(run)
    assert (found.seq, found.text) == (3, "Old text")
