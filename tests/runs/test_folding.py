"""Folding takes a run's events away and nothing that anybody could read of it."""

import asyncio
import logging
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from chat.eventlog import log, retention
from chat.models import Message, Run, RunEvent
from chat.protocol.answer import Answer
from chat.protocol.events import Event
from chat.providers.base import ProviderError, ReasoningDelta, Request
from chat.runs.engine import Engine
from chat.runs.owner import Owner
from tests.fakes import ScriptedProvider
from tests.runs.helpers import Client, ask, collect, crash, expire, get_run, times, until, wait_ended

HOURS = 24

read_log = sync_to_async(log.read_all)


@sync_to_async
def age(*runs: UUID, hours: float = HOURS + 1) -> None:
    found = Run.objects.filter(id__in=runs) if runs else Run.objects.exclude(ended=None)
    found.update(ended=timezone.now() - timedelta(hours=hours))


async def folded(engine: Engine) -> None:
    await age()
    await retention.turn(engine.readers, engine.writer, HOURS)


async def check_every_place(engine: Engine, owner: Owner, run: UUID, whole: list[Event]) -> None:
    """From each offset on a client comes to the same content and the same terminal event as by the whole log."""
    for after in range(len(whole)):
        client = Client(engine, owner, run)
        client.answer = Answer().apply(whole[:after])
        await client.read()
        client.check()
        assert client.ended == whole[-1]
        assert client.answer.parts == Answer().apply(whole).parts
    assert await collect(engine, owner, run, len(whole)) == []


async def test_it_works(engine: Engine, alice: Owner, provider: ScriptedProvider) -> None:
    provider.script = [ReasoningDelta("Hm. "), "Hel", "lo"]
    accepted = await ask(engine, alice)
    whole = await collect(engine, alice, accepted.run)
    await folded(engine)
    assert await read_log(accepted.run) == whole[-1:]
    assert (await get_run(accepted.run)).folded is True
    await check_every_place(engine, alice, accepted.run, whole)


pieces = st.text(min_size=1, max_size=6)
deltas = st.lists(pieces | st.builds(ReasoningDelta, pieces), max_size=12)
ends = st.sampled_from([[], [ProviderError("upstream_cut", "It was cut.", retryable=True)], ["stop"]])


@hypothesis_settings(
    max_examples=times(40, 1000), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(script=deltas, end=ends, slice_=st.integers(1, 9))
async def test_at_any_place_folding_changes_nothing_that_is_read(
    engine: Engine, alice: Owner, provider: ScriptedProvider, script: list[Any], end: list[Any], slice_: int
) -> None:
    stopped = end == ["stop"]
    provider.script = [*script, asyncio.Event()] if stopped else [*script, *end]
    accepted = await ask(engine, alice)
    if stopped:
        await until(lambda: engine.generations[accepted.run].lease.stored > len(script))
        await engine.stop(alice, accepted.run)
    whole = await collect(engine, alice, accepted.run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retention, "BATCH_EVENTS", slice_)
        patch.setattr(retention, "PAUSE_SECONDS", 0)
        await folded(engine)
    assert await read_log(accepted.run) == whole[-1:]
    await check_every_place(engine, alice, accepted.run, whole)


async def test_what_a_lost_attempt_wrote_is_gone_as_it_was_before(
    make_engine: Any, alice: Owner, provider: ScriptedProvider
) -> None:
    def script(_: Request) -> list[Any]:
        return ["Old ", "text", asyncio.Event()] if provider.opened == 1 else ["New ", "answer"]

    provider.script = script
    accepted = await ask(first := await make_engine(), alice)
    client = Client(first, alice, accepted.run)
    while client.answer.text != "Old text":
        await client.step()
    await crash(first)
    await expire(accepted.run)
    second = await make_engine()
    whole = await collect(second, alice, accepted.run)
    assert [event.type for event in whole].count("run.restarted") == 1
    await folded(second)
    assert await read_log(accepted.run) == whole[-1:]
    await check_every_place(second, alice, accepted.run, whole)
    assert (await get_run(accepted.run)).message.text == "New answer"


async def test_a_long_log_goes_piece_by_piece_and_reads_whole_between_any_two(
    engine: Engine, alice: Owner, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH_EVENTS", 7)
    provider.script = [f"{number} " for number in range(30)]
    accepted = await ask(engine, alice)
    whole = await collect(engine, alice, accepted.run)
    await age()
    sizes = []
    while batch := await engine.readers.call(retention.next_batch, HOURS):
        done = await engine.writer.call(retention.fold, batch)
        assert done.events <= 7
        sizes.append(len(await read_log(accepted.run)))
        await check_every_place(engine, alice, accepted.run, whole)
    assert sizes == [25, 18, 11, 4, 1]


async def test_a_follower_in_the_middle_of_the_log_gets_a_snapshot_and_the_end(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    provider.script = ["x"] * (log.PAGE + 100)
    accepted = await ask(engine, alice)
    await wait_ended(engine, alice, accepted.run)
    middle, page = Client(engine, alice, accepted.run), Client(engine, alice, accepted.run)
    middle.answer = Answer().apply((await read_log(accepted.run))[:-20])
    for client in (middle, page):
        await client.step()
    await folded(engine)
    for client in (middle, page):
        await client.read()
        client.check()
    # Of the one that had nearly all, the next page held what was left.
    assert (middle.snapshots, page.snapshots) == (0, 1)


async def test_of_two_processes_each_folds_some_and_none_twice(
    make_engine: Any, alice: Owner, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH_EVENTS", 20)
    monkeypatch.setattr(retention, "PAUSE_SECONDS", 0)
    engines = [await make_engine() for _ in range(2)]
    runs = [(await ask(engines[number % 2], alice)).run for number in range(30)]
    wholes = {run: await collect(engines[0], alice, run) for run in runs}
    await age()
    while await engines[0].readers.call(retention.next_batch, HOURS):
        await asyncio.gather(*(retention.turn(each.readers, each.writer, HOURS) for each in engines))
    for run in runs:
        assert await read_log(run) == wholes[run][-1:]
        await check_every_place(engines[1], alice, run, wholes[run])


async def test_a_process_that_finds_another_at_work_leaves_it_alone(
    engine: Engine, alice: Owner, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH_EVENTS", 5)  # one run each
    runs = [await wait_ended(engine, alice, (await ask(engine, alice)).run) for _ in range(3)]
    for hours, run in zip((40, 30, 25), runs, strict=True):
        await age(run.id, hours=hours)
    next_batch = retention.next_batch

    def another_is_quicker(hours: float) -> retention.Batch | None:
        batch = next_batch(hours)
        Run.objects.filter(id=runs[0].id).update(folded=True)
        return batch

    monkeypatch.setattr(retention, "next_batch", another_is_quicker)
    await retention.turn(engine.readers, engine.writer, HOURS)
    assert [len(await read_log(run.id)) for run in runs] == [6, 6, 6]


async def test_only_runs_that_ended_long_ago_are_folded(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    old, new = [await wait_ended(engine, alice, (await ask(engine, alice)).run) for _ in range(2)]
    provider.script = [asyncio.Event()]
    running = await ask(engine, alice)
    await until(lambda: engine.generations[running.run].lease.stored == 1)
    await age(old.id, hours=24.01)
    await age(new.id, hours=23.99)
    await retention.turn(engine.readers, engine.writer, HOURS)
    assert [len(await read_log(run)) for run in (old.id, new.id, running.run)] == [1, 6, 1]
    assert [(await get_run(run)).folded for run in (old.id, new.id, running.run)] == [True, None, None]
    await engine.stop(alice, running.run)
    await wait_ended(engine, alice, running.run)


async def test_a_run_that_was_stopped_in_the_queue_is_folded(make_engine: Any, alice: Owner) -> None:
    full = await make_engine(worker=False)
    full.capacity = 0
    accepted = await ask(full, alice)
    await full.stop(alice, accepted.run)
    [ended] = await read_log(accepted.run)
    await folded(full)
    assert await read_log(accepted.run) == [ended]
    assert (await get_run(accepted.run)).folded is True


def change_text(run: Run) -> None:
    Message.objects.filter(run=run).update(text="Edited", parts=[{"type": "text", "text": "Edited"}])


def change_reasoning(run: Run) -> None:
    parts = [{"type": "reasoning", "text": "Never."}, *run.message.parts]
    Message.objects.filter(run=run).update(parts=parts)


def lose_an_event(run: Run) -> None:
    RunEvent.objects.filter(run=run, seq=3).delete()


def lose_the_end(run: Run) -> None:
    RunEvent.objects.filter(run=run, seq=6).delete()


def garble(run: Run) -> None:
    RunEvent.objects.filter(run=run, seq=3).update(data='{"part":7,"text":"')


@pytest.mark.parametrize("harm", [change_text, change_reasoning, lose_an_event, lose_the_end, garble])
async def test_a_log_that_does_not_add_up_to_its_message_is_kept_and_in_nobodys_way(
    engine: Engine, alice: Owner, harm: Any, caplog: pytest.LogCaptureFixture
) -> None:
    harmed, sound = [await wait_ended(engine, alice, (await ask(engine, alice)).run) for _ in range(2)]
    await sync_to_async(harm)(harmed)
    before = await read_log(harmed.id)
    await folded(engine)
    assert await read_log(harmed.id) == before
    assert len(await read_log(sound.id)) == 1
    assert [(await get_run(run.id)).folded for run in (harmed, sound)] == [False, True]
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        f"run {harmed.id} keeps its events: they do not add up to its message"
    ]
    assert await engine.readers.call(retention.next_batch, HOURS) is None


async def test_an_engine_folds_by_itself_and_outlasts_a_database_that_does_not_answer(
    make_engine: Any, alice: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "TURN_SECONDS", 0.02)
    next_batch, failures = retention.next_batch, [OperationalError("gone"), RuntimeError("a bug")]

    def fail_first(hours: float) -> retention.Batch | None:
        if failures:
            raise failures.pop()
        return next_batch(hours)

    monkeypatch.setattr(retention, "next_batch", fail_first)
    engine = await make_engine()
    accepted = await ask(engine, alice)
    await wait_ended(engine, alice, accepted.run)
    await age()

    async def is_folded() -> bool:
        return len(await read_log(accepted.run)) == 1

    await until(is_folded)
    assert not failures


@pytest.mark.parametrize("hours, worker, folds", [(24, True, True), (0, True, False), (24, False, False)])
async def test_only_workers_fold_and_with_zero_hours_nobody(
    make_engine: Any, settings: Settings, hours: int, worker: bool, folds: bool
) -> None:
    settings.CHAT_LOG_HOURS = hours
    engine = await make_engine(worker=worker)
    tasks = {getattr(task.get_coro(), "__name__", "") for task in engine._tasks}
    assert ("fold_for_ever" in tasks) == folds
