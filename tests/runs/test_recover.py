"""A run outlives the process that executes it: it is taken over, given back or ended with the reason; never stuck."""

import asyncio
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from pytest_django.fixtures import Settings

from chat.eventlog import log
from chat.models import Run
from chat.models.ids import new_id
from chat.protocol.operations import PromptSend
from chat.providers.base import ProviderError, Request
from chat.runs import claim as claims
from chat.runs import start
from chat.runs.engine import Engine
from chat.runs.owner import Owner
from tests.fakes import ScriptedProvider
from tests.runs.helpers import (
    Client,
    acheck,
    ask,
    collect,
    crash,
    data,
    expire,
    freeze,
    get_run,
    nothing_left_active,
    text_of,
    until,
    wait_ended,
)

read_log = sync_to_async(log.read_all)


async def begun(engine: Engine, owner: Owner, run: Any, text: str) -> Client:
    client = Client(engine, owner, run)
    while client.answer.text != text:
        assert await client.step()
    return client


@pytest.fixture
def halves(provider: ScriptedProvider) -> ScriptedProvider:
    """The first attempt hangs after some text; the next one writes another answer."""

    def script(_: Request) -> list[Any]:
        return ["Old ", "text", asyncio.Event()] if provider.opened == 1 else ["New ", "answer"]

    provider.script = script
    return provider


async def test_it_works(make_engine: Any, alice: Owner, halves: ScriptedProvider) -> None:
    first = await make_engine()
    accepted = await ask(first, alice)
    client = await begun(first, alice, accepted.run, "Old text")
    await crash(first)
    await expire(accepted.run)
    client.engine = await make_engine()
    client.cut()
    await client.read()
    client.check()
    assert client.answer.text == "New answer"
    assert client.answer.attempt == 2
    run = await acheck(accepted.run)
    assert (run.status, run.attempt, run.message.text) == ("completed", 2, "New answer")


async def test_the_new_attempt_says_so_and_starts_its_parts_anew(
    make_engine: Any, alice: Owner, halves: ScriptedProvider
) -> None:
    first = await make_engine()
    accepted = await ask(first, alice)
    await begun(first, alice, accepted.run, "Old text")
    await crash(first)
    await expire(accepted.run)
    events = await collect(await make_engine(), alice, accepted.run)
    assert [event.type for event in events] == [
        "run.started",
        "text.delta",
        "text.delta",
        "run.restarted",
        "text.delta",
        "text.delta",
        "run.completed",
    ]
    assert data(events[3]) == {"attempt": 2, "reason": "worker_lost", "parts": []}
    assert [data(event)["part"] for event in events if event.type == "text.delta"] == [0, 0, 0, 0]


async def test_a_run_whose_lease_holds_is_left_alone(make_engine: Any, alice: Owner, halves: ScriptedProvider) -> None:
    first = await make_engine()
    accepted = await ask(first, alice)
    await begun(first, alice, accepted.run, "Old text")
    second = await make_engine()
    await asyncio.sleep(0.2)
    assert second.generations == {}
    assert (await get_run(accepted.run)).attempt == 1
    await first.stop(alice, accepted.run)
    await wait_ended(first, alice, accepted.run)


async def test_a_lease_is_renewed_as_long_as_the_run_goes_on(
    engine: Engine, alice: Owner, halves: ScriptedProvider
) -> None:
    accepted = await ask(engine, alice)
    await begun(engine, alice, accepted.run, "Old text")
    before = (await get_run(accepted.run)).lease_until
    assert before is not None

    async def renewed() -> bool:
        now = (await get_run(accepted.run)).lease_until
        return now is not None and now > before

    await until(renewed)
    await engine.stop(alice, accepted.run)
    await wait_ended(engine, alice, accepted.run)


async def test_after_its_last_attempt_the_run_fails_and_keeps_the_text(
    make_engine: Any, alice: Owner, provider: ScriptedProvider
) -> None:
    provider.script = lambda _: ["Half", asyncio.Event()]
    accepted = await ask(first := await make_engine(), alice)
    for _ in range(2):
        await begun(first, alice, accepted.run, "Half")
        await until(lambda: provider.opened > provider.closed)
        await until_attempt_has_text(accepted.run)
        await crash(first)
        await expire(accepted.run)
        first = await make_engine()
    run = await wait_ended(first, alice, accepted.run)
    await acheck(accepted.run)
    assert (run.status, run.error_code, run.error_retryable) == ("failed", "worker_lost", True)
    assert (run.message.text, run.message.status) == ("Half", "failed")
    assert provider.opened == 2
    events = await collect(first, alice, accepted.run)
    assert data(events[-1])["error"]["code"] == "worker_lost"


async def until_attempt_has_text(run: Any) -> None:
    async def reached() -> bool:
        events = await read_log(run)
        return bool(events) and events[-1].type == "text.delta"

    await until(reached)


async def test_how_often_a_run_is_tried_is_a_setting(
    make_engine: Any, alice: Owner, provider: ScriptedProvider, settings: Settings
) -> None:
    settings.CHAT_MAX_ATTEMPTS = 1
    provider.script = ["Half", asyncio.Event()]
    accepted = await ask(first := await make_engine(), alice)
    await begun(first, alice, accepted.run, "Half")
    await crash(first)
    await expire(accepted.run)
    assert (await wait_ended(await make_engine(), alice, accepted.run)).error_code == "worker_lost"


async def test_an_orphan_that_somebody_stopped_ends_as_stopped(
    make_engine: Any, alice: Owner, halves: ScriptedProvider
) -> None:
    first = await make_engine()
    accepted = await ask(first, alice)
    await begun(first, alice, accepted.run, "Old text")
    await crash(first)
    second = await make_engine()
    await second.stop(alice, accepted.run)
    await expire(accepted.run)
    run = await wait_ended(second, alice, accepted.run)
    await acheck(accepted.run)
    assert (run.status, run.attempt, run.message.text) == ("stopped", 1, "Old text")
    assert halves.opened == 1


async def test_a_takeover_that_is_stopped_before_its_first_step_keeps_the_text(
    make_engine: Any, alice: Owner, halves: ScriptedProvider
) -> None:
    first = await make_engine()
    accepted = await ask(first, alice)
    await begun(first, alice, accepted.run, "Old text")
    await crash(first)
    second = await make_engine()
    await freeze(second)
    await expire(accepted.run)
    await second._duties.claim()
    second.generations[accepted.run].interrupt("stop")
    run = await wait_ended(second, alice, accepted.run)
    await acheck(accepted.run)
    assert (run.status, run.attempt, run.message.text) == ("stopped", 2, "Old text")
    assert halves.opened == 1


async def test_a_zombie_writes_nothing_more_and_ends_nothing(
    make_engine: Any, alice: Owner, provider: ScriptedProvider
) -> None:
    gate = asyncio.Event()
    provider.script = lambda _: ["Old ", gate, "zombie"] if provider.opened == 1 else ["New"]
    zombie = await make_engine()
    accepted = await ask(zombie, alice)
    await begun(zombie, alice, accepted.run, "Old ")
    await freeze(zombie)
    await expire(accepted.run)
    second = await make_engine()
    events = await collect(second, alice, accepted.run)
    gate.set()
    await until(lambda: not zombie.generations)
    await zombie.writer.call(lambda: None)
    assert await read_log(accepted.run) == events
    assert (await acheck(accepted.run)).message.text == "New"


async def test_a_zombie_is_fenced_while_its_successor_writes(
    make_engine: Any, alice: Owner, provider: ScriptedProvider
) -> None:
    old, new = asyncio.Event(), asyncio.Event()
    provider.script = lambda _: ["Old ", old, "zombie"] if provider.opened == 1 else ["New ", new, "answer"]
    zombie = await make_engine()
    accepted = await ask(zombie, alice)
    await begun(zombie, alice, accepted.run, "Old ")
    published: list[Any] = []
    zombie.bus.publish = lambda run, events: published.append(events)
    await freeze(zombie)
    await expire(accepted.run)
    second = await make_engine()
    client = await begun(second, alice, accepted.run, "New ")
    old.set()
    await until(lambda: not zombie.generations)
    new.set()
    await client.read()
    client.check()
    assert published == []
    assert client.answer.text == "New answer"
    assert (await acheck(accepted.run)).attempt == 2


async def test_a_zombie_that_is_silent_lets_go_at_its_next_tick(
    make_engine: Any, alice: Owner, halves: ScriptedProvider
) -> None:
    zombie = await make_engine(worker=False)
    accepted = await ask(zombie, alice)
    await begun(zombie, alice, accepted.run, "Old text")
    await freeze(zombie)
    await expire(accepted.run)
    await wait_ended(await make_engine(), alice, accepted.run)
    assert halves.closed == 1
    await zombie._duties._renew()
    await until(lambda: halves.closed == 2)
    assert (await acheck(accepted.run)).message.text == "New answer"


async def test_an_engine_that_takes_over_its_own_run_goes_on_with_the_new_attempt(
    engine: Engine, alice: Owner, halves: ScriptedProvider
) -> None:
    accepted = await ask(engine, alice)
    await begun(engine, alice, accepted.run, "Old text")
    await freeze(engine)
    await expire(accepted.run)
    await engine._duties.claim()
    run = await wait_ended(engine, alice, accepted.run)
    await acheck(accepted.run)
    assert (run.status, run.attempt, run.message.text) == ("completed", 2, "New answer")


async def test_of_many_processes_one_takes_a_run_over(make_engine: Any, alice: Owner, halves: ScriptedProvider) -> None:
    first = await make_engine()
    accepted = await ask(first, alice)
    await begun(first, alice, accepted.run, "Old text")
    await crash(first)
    engines = [await make_engine() for _ in range(4)]
    for engine in engines:
        await freeze(engine)
    await expire(accepted.run)
    await asyncio.gather(*(engine._duties.claim() for engine in engines))
    await wait_ended(engines[0], alice, accepted.run) if engines[0].generations else await until(
        lambda: not any(engine.generations for engine in engines)
    )
    assert halves.opened == 2
    assert (await acheck(accepted.run)).attempt == 2


async def test_a_run_that_died_before_its_first_event_starts_as_if_new(
    make_engine: Any, alice: Owner, provider: ScriptedProvider
) -> None:
    first = await make_engine()
    await freeze(first)
    models = await first.models()
    terms = start.Terms(frozenset(model.id for model in models), "alpha", first.name, new_id())
    accepted = await first.writer.call(start.begin, alice, PromptSend(text="Hello"), terms)
    await crash(first)
    assert await read_log(accepted.run) == []
    await expire(accepted.run)
    events = await collect(await make_engine(), alice, accepted.run)
    assert [event.type for event in events] == ["run.started", *["text.delta"] * 4, "run.completed"]
    assert data(events[0])["attempt"] == 2
    await acheck(accepted.run)


async def test_a_graceful_end_gives_runs_back_at_once(make_engine: Any, alice: Owner, halves: ScriptedProvider) -> None:
    first = await make_engine()
    accepted = await ask(first, alice)
    await begun(first, alice, accepted.run, "Old text")
    await first.close()
    assert halves.closed == 1
    given_back = await get_run(accepted.run)
    assert (given_back.status, given_back.lease_until, given_back.ended) == ("queued", None, None)
    client = await Client(await make_engine(), alice, accepted.run).read()
    client.check()
    assert client.answer.text == "New answer"


async def test_no_number_of_graceful_ends_uses_up_the_attempts(
    make_engine: Any, alice: Owner, provider: ScriptedProvider
) -> None:
    provider.script = lambda _: ["Half", asyncio.Event()] if provider.opened < 5 else ["Whole"]
    accepted = await ask(engine := await make_engine(), alice)
    for attempt in range(1, 5):
        await until(lambda attempt=attempt: provider.opened == attempt)  # type: ignore[misc]
        await until_attempt_has_text(accepted.run)
        await engine.close()
        engine = await make_engine()
    run = await wait_ended(engine, alice, accepted.run)
    await acheck(accepted.run)
    assert (run.status, run.message.text) == ("completed", "Whole")


async def test_an_engine_closes_in_every_moment_of_a_run_and_leaves_it_whole_or_waiting(
    make_engine: Any, alice: Owner, provider: ScriptedProvider
) -> None:
    for steps in range(0, 60, 4):
        engine = await make_engine()
        accepted = await ask(engine, alice)
        for _ in range(steps):
            await asyncio.sleep(0)
        await engine.close()
        run = await get_run(accepted.run)
        if run.ended:
            await acheck(accepted.run)
        else:
            assert (run.status, run.lease_until) == ("queued", None)
    last = await make_engine()
    async for run in Run.objects.filter(ended=None):
        await wait_ended(last, alice, run.id)
        await acheck(run.id)
    await sync_to_async(nothing_left_active)()


async def test_a_prompt_that_comes_while_the_engine_closes_is_not_lost(
    make_engine: Any, alice: Owner, provider: ScriptedProvider
) -> None:
    engine = await make_engine()
    asking = asyncio.create_task(ask(engine, alice))
    await asyncio.sleep(0)
    await engine.close()
    accepted = await asking
    assert text_of(await collect(await make_engine(), alice, accepted.run)) == "Hello world"


async def test_queued_runs_are_taken_oldest_first_as_far_as_there_is_room(
    make_engine: Any, alice: Owner, provider: ScriptedProvider
) -> None:
    full = await make_engine(worker=False)
    full.capacity = 0
    queued = [(await ask(full, alice)).run for _ in range(5)]
    claimed, endings = await full.writer.call(claims.claim_waiting, "worker", 2)
    assert [claim.run for claim in claimed] == queued[:2]
    assert endings == []
    claimed, _ = await full.writer.call(claims.claim_waiting, "another", 9)
    assert [claim.run for claim in claimed] == queued[2:]


async def test_a_queued_run_that_fails_does_not_hold_up_the_others(
    make_engine: Any, alice: Owner, provider: ScriptedProvider
) -> None:
    provider.script = lambda _: [ProviderError("upstream_auth", "No.")] if provider.opened == 1 else ["Fine"]
    full = await make_engine(worker=False)
    full.capacity = 0
    one, two = await ask(full, alice), await ask(full, alice)
    engine = await make_engine()
    runs = [await wait_ended(engine, alice, each.run) for each in (one, two)]
    assert {run.error_code for run in runs} == {"upstream_auth", ""}


async def test_a_shutdown_is_not_counted_as_a_lost_worker(
    make_engine: Any, alice: Owner, provider: ScriptedProvider, settings: Settings
) -> None:
    settings.CHAT_MAX_ATTEMPTS = 1
    provider.script = lambda _: ["Half", asyncio.Event()] if provider.opened < 2 else ["Whole"]
    accepted = await ask(engine := await make_engine(), alice)
    await until_attempt_has_text(accepted.run)
    await engine.close()
    events = await asyncio.wait_for(collect(await make_engine(), alice, accepted.run), 10)
    restarted = next(event for event in events if event.type == "run.restarted")
    assert data(restarted) == {"attempt": 2, "reason": "handed_over", "parts": []}
    assert events[-1].type == "run.completed"
    run = await get_run(accepted.run)
    assert (run.attempt, run.handovers) == (2, 1)
