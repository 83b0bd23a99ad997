"""The law of resume: whatever was read before a cut and whatever follows after it are the whole, once and in order."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.db import InterfaceError, OperationalError
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from chat.eventlog import Bus, log
from chat.models import ChatSession, RunEvent
from chat.protocol.errors import ChatError
from chat.protocol.events import TERMINAL, Event
from chat.providers.base import ProviderError, ReasoningDelta, TextDelta
from chat.runs import follow
from chat.runs.engine import Engine
from chat.runs.follow import PENDING_EVENTS, snapshot
from chat.runs.owner import Owner
from tests.fakes import ScriptedProvider
from tests.runs.helpers import Client, acheck, ask, check, collect, get_run, text_of, times, until, wait_ended
from tests.runs.scenes import joins

in_the_suite = hypothesis_settings(
    max_examples=times(60, 1000), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class LossyBus(Bus):
    """Loses half of what it carries, repeats and shuffles the rest: a hint must never be needed, nor believed."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = random.Random(seed)
        self.held: list[tuple[str, Sequence[Event]]] = []

    def publish(self, run: str, events: Sequence[Event]) -> None:
        if self.random.random() < 0.5:
            self.held.append((run, events))
        if self.random.random() < 0.3 and len(events) > 1:
            self.held.append((run, events[1:]))
        if self.random.random() < 0.5:
            self.random.shuffle(self.held)
            for key, batch in self.held:
                super().publish(key, batch)
            self.held = self.held[:1]


@sync_to_async
def trim(run: Any, *, keep: int = 1) -> None:
    newest = [event.seq for event in log.read_all(run)][-keep:]
    RunEvent.objects.filter(run__id=run).exclude(seq__in=newest).delete()


async def test_it_works(engine: Engine, alice: Owner) -> None:
    accepted = await ask(engine, alice)
    client = await Client(engine, alice, accepted.run).read()
    assert client.answer.text == "Hello world"
    client.check()


# NUL is replaced: Postgres stores none.
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=6)
chunks = st.lists(texts | st.just(0.001), min_size=1, max_size=25)


@in_the_suite
@given(script=chunks, cuts=st.lists(st.integers(0, 3), max_size=8))
async def test_any_cuts_and_any_chunking_add_up_to_the_whole(
    engine: Engine, alice: Owner, provider: ScriptedProvider, script: list[str | float], cuts: list[int]
) -> None:
    provider.script = [*script, "."]
    accepted = await ask(engine, alice)
    client = Client(engine, alice, accepted.run)
    for steps in cuts:
        for _ in range(steps):
            await client.step()
        client.cut()
    await client.read()
    client.check()
    assert client.answer.text == "".join(step for step in script if isinstance(step, str)) + "."
    assert engine.bus.followed == []
    await acheck(accepted.run)


@in_the_suite
@given(script=chunks, seed=st.integers(), cuts=st.lists(st.integers(0, 3), max_size=4))
async def test_no_loss_repeat_or_shuffle_of_hints_makes_a_gap(
    make_engine: Any, alice: Owner, provider: ScriptedProvider, script: list[str | float], seed: int, cuts: list[int]
) -> None:
    provider.script = script
    engine = await make_engine(LossyBus(seed))
    accepted = await ask(engine, alice)
    client, second = (Client(engine, alice, accepted.run) for _ in range(2))
    draw = random.Random(seed)
    client.takes = second.takes = lambda: draw.random() < 0.7
    for steps in cuts:
        for _ in range(steps):
            await client.step()
        client.cut()
    async with asyncio.timeout(10):
        await asyncio.gather(client.read(), second.read())
    client.check()
    second.check()
    await engine.close()


async def test_a_sink_takes_live_events_and_the_reader_the_rest(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    gates = [asyncio.Event() for _ in range(4)]
    provider.script = ["a", gates[0], "b", gates[1], "c", gates[2], "d", gates[3], "e"]
    accepted = await ask(engine, alice)
    client = Client(engine, alice, accepted.run)
    offered: list[bool] = []

    def every_second() -> bool:
        offered.append(len(offered) % 2 == 0)
        return offered[-1]

    client.takes = every_second
    await until(lambda: provider.opened == 1)
    reading = asyncio.create_task(client.read())
    for gate, text in zip(gates, ("a", "ab", "abc", "abcd"), strict=True):
        await until(lambda text=text: client.answer.text == text)  # type: ignore[misc]
        gate.set()
    await reading
    client.check()
    assert set(offered) == {True, False}


async def test_every_seq_is_a_place_to_go_on_from(engine: Engine, alice: Owner) -> None:
    accepted = await ask(engine, alice)
    whole = await collect(engine, alice, accepted.run)
    for after in range(len(whole) + 1):
        assert await collect(engine, alice, accepted.run, after) == whole[after:]


async def test_following_after_the_terminal_event_ends_at_once(engine: Engine, alice: Owner) -> None:
    accepted = await ask(engine, alice)
    whole = await collect(engine, alice, accepted.run)
    async with asyncio.timeout(5):
        assert await collect(engine, alice, accepted.run, len(whole)) == []
    assert engine.bus.followed == []


@pytest.mark.parametrize("beyond", [1, 2, 1000, 2**31 - 100])
async def test_an_offset_beyond_the_top_is_refused_with_the_top(engine: Engine, alice: Owner, beyond: int) -> None:
    accepted = await ask(engine, alice)
    top = len(await collect(engine, alice, accepted.run))
    with pytest.raises(ChatError) as caught:
        await engine.follow(alice, accepted.run, top + beyond)
    assert (caught.value.code, caught.value.top) == ("bad_offset", top)
    assert engine.bus.followed == []


async def test_an_offset_beyond_the_top_of_a_live_run_is_refused_as_well(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    gate = asyncio.Event()
    provider.script = ["a", gate, "b"]
    accepted = await ask(engine, alice)
    client = Client(engine, alice, accepted.run)
    while client.answer.text != "a":
        await client.step()
    with pytest.raises(ChatError) as caught:
        await engine.follow(alice, accepted.run, 3)
    assert (caught.value.code, caught.value.top) == ("bad_offset", 2)
    live = asyncio.create_task(collect(engine, alice, accepted.run, 2))
    await asyncio.sleep(0.01)
    gate.set()
    assert [event.seq for event in await live] == [3, 4]


async def test_a_run_that_does_not_exist_is_not_followed(engine: Engine, alice: Owner) -> None:
    with pytest.raises(ChatError) as caught:
        await engine.follow(alice, uuid4())
    assert caught.value.code == "not_found"
    assert engine.bus.followed == []


async def test_of_a_trimmed_log_come_a_snapshot_and_the_terminal_event(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    provider.script = [ReasoningDelta("Hm. "), "Hel", "lo"]
    accepted = await ask(engine, alice)
    whole = await collect(engine, alice, accepted.run)
    await trim(accepted.run)
    for after in range(len(whole)):
        client = Client(engine, alice, accepted.run)
        client.answer.seq = after
        await client.read()
        assert client.ended is not None
        # Right before the terminal event nothing is missing.
        assert client.snapshots == (0 if after == len(whole) - 1 else 1)
        if client.snapshots:
            client.check()
            assert client.answer.parts == [{"type": "reasoning", "text": "Hm. "}, {"type": "text", "text": "Hello"}]
    with pytest.raises(ChatError) as caught:
        await engine.follow(alice, accepted.run, len(whole) + 1)
    assert caught.value.code == "bad_offset"


async def test_a_follower_ends_when_its_trimmed_run_is_deleted_under_it(
    engine: Engine, alice: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = await ask(engine, alice)
    await wait_ended(engine, alice, accepted.run)
    follower = await engine.follow(alice, accepted.run)
    await trim(accepted.run)

    def deleted(run: Any) -> Any:
        ChatSession.objects.filter(id=accepted.session).delete()
        return snapshot(run)

    monkeypatch.setattr(follow, "snapshot", deleted)
    async with asyncio.timeout(5):
        assert [batch async for batch in follower] == []


async def test_a_follower_whose_log_is_trimmed_ahead_of_it_gets_a_snapshot(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    provider.script = ["x"] * (log.PAGE + 100)
    accepted = await ask(engine, alice)
    await wait_ended(engine, alice, accepted.run)
    client = Client(engine, alice, accepted.run)
    await client.step()
    assert 0 < client.answer.seq <= log.PAGE
    await trim(accepted.run)
    await client.read()
    client.check()
    assert client.snapshots == 1


async def test_a_follower_outlasts_a_database_that_does_not_answer(
    engine: Engine, alice: Owner, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = await ask(engine, alice)
    await wait_ended(engine, alice, accepted.run)
    monkeypatch.setattr(follow, "RETRY_SECONDS", 0.01)
    read, failures = log.read, [OperationalError("gone"), InterfaceError("still gone")]

    def fail_first(*args: Any) -> list[Event]:
        if failures:
            raise failures.pop()
        return read(*args)

    monkeypatch.setattr(log, "read", fail_first)
    client = await Client(engine, alice, accepted.run).read()
    client.check()
    assert not failures


async def test_a_snapshot_of_a_live_run_and_the_events_after_it_are_the_whole(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    provider.script = [step for number in range(60) for step in (f"{number} ", 0.002)]
    accepted = await ask(engine, alice)
    clients: list[Client] = []
    while engine.generations:
        client = Client(engine, alice, accepted.run)
        client.resume_from(await engine.readers.call(snapshot, accepted.run))
        clients.append(client)
        await asyncio.sleep(0.001)
    assert len({client.answer.seq for client in clients}) > 5
    for client in clients:
        assert (await client.read()).answer.text == provider_text(provider)
        client.check()


def provider_text(provider: ScriptedProvider) -> str:
    assert not callable(provider.script)
    return "".join(step for step in provider.script if isinstance(step, str))


async def test_a_snapshot_never_swallows_the_terminal_event(engine: Engine, alice: Owner) -> None:
    accepted = await ask(engine, alice)
    whole = await collect(engine, alice, accepted.run)
    state = await engine.readers.call(snapshot, accepted.run)
    assert (state.seq, state.status, state.text) == (len(whole) - 1, "completed", "Hello world")
    rest = await collect(engine, alice, accepted.run, state.seq)
    assert [event.type for event in rest] == ["run.completed"]


async def test_the_state_of_a_session_and_the_events_after_it_are_the_whole(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    gate = asyncio.Event()
    provider.script = ["Hel", "lo ", gate, "world"]
    accepted = await ask(engine, alice)
    client = Client(engine, alice, accepted.run)
    while client.answer.text != "Hello ":
        await client.step()
    state = await engine.state(alice, accepted.session)
    assert [message.status for message in state.messages] == ["done", "streaming"]
    assert state.messages[-1].text == state.runs[0].text == "Hello "
    gate.set()
    rest = await collect(engine, alice, accepted.run, state.runs[0].seq)
    assert state.runs[0].text + text_of(rest) == "Hello world"
    state = await engine.state(alice, accepted.session)
    assert (state.runs, state.messages[-1].status, state.messages[-1].text) == ([], "done", "Hello world")


async def test_joins_of_stored_and_live_events_leave_no_gap_and_no_repeat(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    tried, survived = await joins(engine, alice, provider, times(300, 10_000))
    assert tried == survived == times(300, 10_000)


async def test_a_follower_that_does_not_read_holds_little_and_misses_nothing(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    many = PENDING_EVENTS * 10
    provider.script = ["x"] * many
    accepted = await ask(engine, alice)
    slow = await engine.follow(alice, accepted.run)
    most = 0
    async for _ in await engine.follow(alice, accepted.run):
        most = max(most, len(slow._pending))
    assert most <= PENDING_EVENTS
    events = [event async for batch in slow if isinstance(batch, list) for event in batch]
    assert [event.seq for event in events] == list(range(1, many + 3))
    assert events[-1].type in TERMINAL


async def test_a_follower_on_another_process_sees_the_whole_run(
    engine: Engine, make_engine: Any, alice: Owner, provider: ScriptedProvider
) -> None:
    provider.script = [step for number in range(20) for step in (f"{number} ", 0.01)]
    other = await make_engine()
    accepted = await ask(engine, alice)
    client = await Client(other, alice, accepted.run).read()
    client.check()
    assert client.answer.text == provider_text(provider)


async def test_a_follower_that_is_closed_stops_waiting(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    gate = asyncio.Event()
    provider.script = [gate]
    accepted = await ask(engine, alice)
    follower = await engine.follow(alice, accepted.run)
    reading = asyncio.create_task(drain(follower))
    await until(lambda: follower.position == 1)
    await asyncio.sleep(0.01)
    follower.close()
    await asyncio.wait_for(reading, 5)
    gate.set()
    await wait_ended(engine, alice, accepted.run)


async def drain(follower: Any) -> None:
    async for _ in follower:
        continue


async def test_a_reader_that_is_cancelled_anywhere_can_go_on(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    provider.script = [step for number in range(100) for step in (f"{number} ", 0.001)]
    accepted = await ask(engine, alice)
    client = Client(engine, alice, accepted.run)
    dice = random.Random(7)
    while client.ended is None:
        reading = asyncio.create_task(client.read())
        await asyncio.wait([reading], timeout=dice.random() / 100)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        client.cut()
    client.check()


async def test_a_run_that_fails_is_followed_to_its_end(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    provider.script = [TextDelta("Half"), ProviderError("upstream_cut", "It was cut.", retryable=True)]
    accepted = await ask(engine, alice)
    client = await Client(engine, alice, accepted.run).read()
    client.check()
    assert client.ended is not None
    assert client.ended.type == "run.failed"
    await sync_to_async(check)(accepted.run)
    assert (await get_run(accepted.run)).error_code == "upstream_cut"


async def test_followers_of_a_deleted_run_end(engine: Engine, alice: Owner, provider: ScriptedProvider) -> None:
    provider.script = ["Half", asyncio.Event()]
    accepted = await ask(engine, alice)
    reading = asyncio.create_task(collect(engine, alice, accepted.run))
    await until(lambda: engine.bus.followed == [str(accepted.run)])
    await sync_to_async(ChatSession.objects.filter(id=accepted.session).delete)()
    await asyncio.wait_for(reading, 10)
    assert engine.bus.followed == []
    await until(lambda: provider.closed == 1)
