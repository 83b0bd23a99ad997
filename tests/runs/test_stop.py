"""Stop really stops: at any moment, from anywhere, once."""

import asyncio
import time
from typing import Any
from uuid import uuid4

import pytest

from chat.models import Run
from chat.protocol.errors import ChatError
from chat.runs.engine import Engine
from chat.runs.owner import Owner
from tests.fakes import ScriptedProvider
from tests.runs.helpers import Client, acheck, ask, collect, get_run, text_of, times, until, wait_ended
from tests.runs.scenes import stop_races


async def begun(engine: Engine, owner: Owner, run: Any, text: str) -> Client:
    client = Client(engine, owner, run)
    while client.answer.text != text:
        assert await client.step()
    return client


async def test_it_works(engine: Engine, alice: Owner, provider: ScriptedProvider) -> None:
    provider.script = ["Half", asyncio.Event()]
    accepted = await ask(engine, alice)
    client = await begun(engine, alice, accepted.run, "Half")
    asked = time.monotonic()
    await engine.stop(alice, accepted.run)
    await client.read()
    assert time.monotonic() - asked < 1
    assert provider.closed == provider.opened == 1
    client.check()
    assert client.ended is not None
    assert client.ended.type == "run.stopped"
    run = await acheck(accepted.run)
    assert (run.status, run.message.text, run.message.status) == ("stopped", "Half", "stopped")


async def test_a_run_is_stopped_before_its_first_token(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    provider.script = [asyncio.Event()]
    accepted = await ask(engine, alice)
    await until(lambda: provider.opened == 1)
    await engine.stop(alice, accepted.run)
    events = await collect(engine, alice, accepted.run)
    assert [event.type for event in events] == ["run.started", "run.stopped"]
    assert provider.closed == 1
    run = await acheck(accepted.run)
    assert (run.message.text, run.message.parts, run.first_token_ms) == ("", [], None)


async def test_a_run_is_stopped_before_its_task_took_a_step(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    provider.script = [asyncio.Event()]
    accepted = await ask(engine, alice)
    generation = engine.generations[accepted.run]
    generation.interrupt("stop")
    async with asyncio.timeout(5):
        assert (await wait_ended(engine, alice, accepted.run)).status == "stopped"
    await until(lambda: not engine.generations)


async def test_a_queued_run_ends_at_once(make_engine: Any, alice: Owner, provider: ScriptedProvider) -> None:
    engine = await make_engine(worker=False)
    engine.capacity = 0
    accepted = await ask(engine, alice)
    await engine.stop(alice, accepted.run)
    events = await collect(engine, alice, accepted.run)
    assert [(event.seq, event.type) for event in events] == [(1, "run.stopped")]
    assert (await acheck(accepted.run)).attempt == 0
    assert provider.opened == 0
    later = await make_engine()
    await asyncio.sleep(0.15)
    assert (later.generations, provider.opened) == ({}, 0)


async def test_stopping_twice_is_fine(engine: Engine, alice: Owner, provider: ScriptedProvider) -> None:
    provider.script = ["a", asyncio.Event()]
    accepted = await ask(engine, alice)
    await asyncio.gather(*(engine.stop(alice, accepted.run) for _ in range(5)))
    events = await collect(engine, alice, accepted.run)
    await engine.stop(alice, accepted.run)
    assert events[-1].type == "run.stopped"
    assert await collect(engine, alice, accepted.run) == events
    await acheck(accepted.run)


async def test_stopping_an_ended_run_changes_nothing(engine: Engine, alice: Owner) -> None:
    accepted = await ask(engine, alice)
    before = await wait_ended(engine, alice, accepted.run)
    await engine.stop(alice, accepted.run)
    after = await acheck(accepted.run)
    assert (after.status, after.stop_requested, after.ended) == ("completed", False, before.ended)


async def test_nobody_stops_the_run_of_another(
    engine: Engine, alice: Owner, bob: Owner, charlie: Owner, provider: ScriptedProvider
) -> None:
    gate = asyncio.Event()
    provider.script = ["a", gate]
    accepted = await ask(engine, alice)
    for other in (bob, charlie):
        for run in (accepted.run, uuid4()):
            with pytest.raises(ChatError) as caught:
                await engine.stop(other, run)
            assert caught.value.code == "not_found"
    gate.set()
    assert (await wait_ended(engine, alice, accepted.run)).status == "completed"


async def test_an_operator_stops_any_run(engine: Engine, alice: Owner, provider: ScriptedProvider) -> None:
    provider.script = ["a", asyncio.Event()]
    accepted = await ask(engine, alice)
    await engine.stop(None, accepted.run)
    assert (await wait_ended(engine, alice, accepted.run)).status == "stopped"


async def test_a_stop_through_another_process_is_found_by_the_tick(
    engine: Engine, make_engine: Any, alice: Owner, provider: ScriptedProvider
) -> None:
    other = await make_engine()
    provider.script = ["Half", asyncio.Event()]
    accepted = await ask(engine, alice)
    client = await begun(engine, alice, accepted.run, "Half")
    asked = time.monotonic()
    await other.stop(alice, accepted.run)
    await client.read()
    assert time.monotonic() - asked < 1
    assert (await acheck(accepted.run)).status == "stopped"
    assert provider.closed == 1
    assert text_of(await collect(other, alice, accepted.run)) == "Half"


async def test_a_stop_that_races_the_end_leaves_one_terminal_event(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    tried, survived = await stop_races(engine, alice, provider, times(50, 1_000))
    assert tried == survived


async def test_a_stop_that_races_the_start_leaves_no_run_active(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    provider.script = ["a", asyncio.Event()]
    for steps in range(25):
        accepted = await ask(engine, alice)
        for _ in range(steps):
            await asyncio.sleep(0)
        await engine.stop(alice, accepted.run)
        async with asyncio.timeout(5):
            await collect(engine, alice, accepted.run)
        assert (await acheck(accepted.run)).status == "stopped"
    assert not await Run.objects.filter(ended=None).aexists()
    await until(lambda: provider.closed == provider.opened)


async def test_a_provider_that_makes_an_error_of_being_stopped_is_stopped_all_the_same(
    engine: Engine, alice: Owner
) -> None:
    class Stubborn(ScriptedProvider):
        async def stream(self, request: Any) -> Any:
            try:
                async for deltas in super().stream(request):
                    yield deltas
            except asyncio.CancelledError:
                raise ConnectionError("closed") from None

    engine.provider = Stubborn("a", asyncio.Event())
    accepted = await ask(engine, alice)
    await begun(engine, alice, accepted.run, "a")
    await engine.stop(alice, accepted.run)
    run = await wait_ended(engine, alice, accepted.run)
    assert (run.status, run.error_code) == ("stopped", "")


async def test_a_run_whose_session_is_deleted_lets_go_of_the_upstream(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    provider.script = ["a", asyncio.Event()]
    accepted = await ask(engine, alice)
    await begun(engine, alice, accepted.run, "a")
    run = await get_run(accepted.run)
    await run.session.adelete()
    await until(lambda: provider.closed == 1, seconds=2)
    await until(lambda: not engine.generations)
    assert not await Run.objects.aexists()
