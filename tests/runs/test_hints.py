"""A follower against every order, loss and repetition of hints, and against lies about how far the log is."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

from hypothesis import given, settings
from hypothesis import strategies as st

from chat.eventlog import Bus, log
from chat.protocol.events import Event
from chat.runs.follow import PENDING_EVENTS, Follower
from tests.runs.helpers import times

# What happens next, how far from where the reader is, and how much of it.
kinds = st.sampled_from(["commit", "burst", "hint", "hint", "hint", "reach", "lie", "turn", "turn"])
actions = st.lists(st.tuples(kinds, st.integers(-3, 3), st.sampled_from([1, 1, 1, 2, 4])), max_size=60)


class Log:
    """In the place of the database's readers."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def commit(self, count: int) -> None:
        first = len(self.events) + 1
        self.events += [Event(seq, "text.delta", f'{{"part":0,"text":"{seq}"}}') for seq in range(first, first + count)]

    def end(self) -> None:
        self.events.append(Event(len(self.events) + 1, "run.completed", "{}"))

    async def call(self, function: Callable[..., Any], run: object, after: int, most: int) -> Sequence[Event]:
        assert function is log.read
        await asyncio.sleep(0)
        found = self.events[after : after + most]
        await asyncio.sleep(0)
        return found


class Reader:
    """As a relay reads: from within the bus's call what it can (if `sinks`), the rest by itself."""

    def __init__(self, bus: Bus, stored: Log, *, sinks: bool) -> None:
        self.seen: list[Event] = []
        self.follower = Follower(bus, stored, uuid4()).join(0, 0)  # type: ignore[arg-type]
        self.follower.sink = self._take if sinks else None

    def _take(self, event: Event) -> bool:
        self.seen.append(event)
        return True

    async def read(self) -> None:
        async for batch in self.follower:
            assert isinstance(batch, list)
            self.seen += batch


@settings(max_examples=times(300, 5000), deadline=None)
@given(script=actions, sinks=st.booleans())
async def test_whatever_hints_come_what_is_read_is_the_log(script: list[tuple[str, int, int]], sinks: bool) -> None:
    bus, stored = Bus(), Log()
    reader = Reader(bus, stored, sinks=sinks)
    key, reading = reader.follower.key, asyncio.create_task(reader.read())
    for action, place, count in script:
        first = max(0, reader.follower.position + place)
        match action:
            case "commit":
                stored.commit(count)
            case "burst":
                stored.commit(PENDING_EVENTS)
            case "hint" if batch := stored.events[first : first + count]:  # old or new, once or again, in any order
                bus.publish(key, batch)
            case "reach":
                bus.reach(key, min(first, len(stored.events)))
            case "lie":  # of a stranger on Redis: the log is not so far
                bus.reach(key, len(stored.events) + count)
            case "turn":
                for _ in range(count):
                    await asyncio.sleep(0)
        assert reader.seen == stored.events[: len(reader.seen)]
    stored.end()
    async with asyncio.timeout(5):
        while not reading.done():
            bus.reach(key, len(stored.events))  # as the poll does again and again, which is all that has to come
            await asyncio.sleep(0)
    assert reader.seen == stored.events
    assert bus.followed == []
