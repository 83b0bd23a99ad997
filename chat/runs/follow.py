"""Reads a run: what is in the log after an offset, then what is appended, without a gap, a repeat or another order.

The log is the truth and the bus a hint. A follower subscribes first and reads the log second, so that nothing falls
between; what the bus brings is taken only if it continues at the next seq, anything else makes it read the log.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple, ParamSpec, TypeVar
from uuid import UUID

from django.db import DatabaseError, InterfaceError

from chat.eventlog import Bus, Readers, log
from chat.models import Run
from chat.models.outage import tell
from chat.protocol.answer import Answer
from chat.protocol.errors import ChatError
from chat.protocol.events import TERMINAL, Event
from chat.protocol.frames import Snapshot
from chat.runs.owner import Owner, not_found

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

# A follower that does not keep up holds this many events; beyond, the log is its buffer.
PENDING_EVENTS = 256
RETRY_SECONDS = 1.0
# Of the log, read at once: what a follower holds while its reader is slow. Most events are a token, some are 16 KiB.
PAGE_CHARS = 256 * 1024
FIRST_PAGE = 32


class Beginning(NamedTuple):
    position: int
    top: int
    snapshot: Snapshot | None = None
    over: bool = False  # the run ended, and its terminal event is not after `position`


class Follower:
    """Iterate over it: lists of events, and a Snapshot where the log was trimmed; ends after the terminal event.

    Close it (`close`) when you stop before that. Used on one event loop, by one reader. `nudge` has a reader that waits
    be given an empty list.

    `sink`: given the next event while the reader waits for it, it may take it (True) and spare the reader its turn.
    """

    def __init__(self, bus: Bus, readers: Readers, run: UUID) -> None:
        self.run = run
        self.key = str(run)
        self.position = 0
        self.sink: Callable[[Event], bool] | None = None
        self._bus = bus
        self._readers = readers
        self._snapshot: Snapshot | None = None
        self._pending: list[Event] = []
        self._top = 0  # the highest seq known to be in the log
        self._reading = True
        self._page = FIRST_PAGE
        self._done = False
        self._wake: asyncio.Future[bool] | None = None  # True: nudged
        bus.subscribe(self.key, self)

    async def begin(self, beginning: Callable[[], Beginning]) -> "Follower":
        """Find the place to start from; raises what `beginning` raises."""
        try:
            self.position, top, self._snapshot, over = await self._readers.call(beginning)
        except BaseException:
            self.close()
            raise
        self._top = max(self._top, top)
        self._reading = False
        if over:
            self.close()
        return self

    def join(self, position: int, top: int) -> "Follower":
        """Start after seq `position` of a run that is executed here, whose log holds events up to `top`."""
        self.position, self._top = position, max(self._top, top)
        self._reading = False
        return self

    @property
    def done(self) -> bool:
        """Nothing more comes: it gave the terminal event, or began behind it, or is closed."""
        return self._done

    def close(self) -> None:
        self._done = True
        self._bus.unsubscribe(self.key, self)
        self._rouse(nudged=False)

    def nudge(self) -> None:
        self._rouse(nudged=True)

    def _rouse(self, *, nudged: bool) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(nudged)

    def __aiter__(self) -> "Follower":
        return self

    async def __anext__(self) -> Snapshot | list[Event]:
        if self._snapshot is not None:
            snapshot, self._snapshot = self._snapshot, None
            return snapshot
        while not self._done:
            if self._pending:
                batch, self._pending = self._pending, []
                return self._advance(batch)
            if self._top > self.position:
                batch = await self._read()
                if batch and batch[0].seq != self.position + 1:
                    if (state := await self._skip()) is not None:
                        return state
                    continue
                if batch:
                    return self._advance(batch)
            else:
                self._wake = asyncio.get_running_loop().create_future()
                if await self._wake and not self._done:
                    return []
        raise StopAsyncIteration

    async def _read(self) -> list[Event]:
        self._reading = True
        try:
            events = await self._ask(log.read, self.run, self.position, self._page)
        finally:
            self._reading = False
        if not events:
            self._top = self.position  # the events were trimmed away; the terminal one never is
            return events
        size = sum(len(event.data) for event in events) // len(events)
        self._page = min(log.PAGE, max(1, PAGE_CHARS // max(1, size)))
        return events

    async def _skip(self) -> Snapshot | None:
        """The log was trimmed ahead of us; None: the run was deleted meanwhile, which ends this."""
        try:
            state = await self._ask(snapshot, self.run)
        except ChatError:
            self.close()
            return None
        self.position = state.seq
        return state

    async def _ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Until the database answers: whoever follows cannot tell a follower that gave up from a model that thinks."""
        while True:
            try:
                return await self._readers.call(function, *args, **kwargs)
            except (DatabaseError, InterfaceError) as error:
                tell(logger, "runs cannot be read, it is tried again", error)
            await asyncio.sleep(RETRY_SECONDS)

    def _advance(self, batch: list[Event]) -> list[Event]:
        self.position = batch[-1].seq
        if batch[-1].type in TERMINAL:
            self.close()
        return batch

    # Called by the bus ----------------------------------------------------------------------------------------------

    def take(self, events: Sequence[Event]) -> None:
        if self.sink is not None and len(events) == 1 and self._pour(events[0]):
            return
        last = self._pending[-1].seq if self._pending else self.position
        room = PENDING_EVENTS - len(self._pending)
        if events[0].seq == last + 1 and not self._reading and len(events) <= room:
            self._pending.extend(events)
        elif events[-1].seq > last:
            # Behind, or joining: the log has it. What is pending is dropped with it, it will be read again.
            self._pending.clear()
        self.reach(events[-1].seq)

    def _pour(self, event: Event) -> bool:
        """Only what the reader would be given next, while it waits for nothing else: all before it was handed over."""
        waiting = self._wake is not None and not self._wake.done() and not self._pending
        if not waiting or self.sink is None or event.seq != self.position + 1 or event.type in TERMINAL:
            return False
        try:
            if not self.sink(event):
                return False
        except Exception:
            # We are called by the writer's commit, which has other runs to tell of.
            logger.exception("run %s: a sink failed; the reader takes over", self.run)
            self.sink = None
            return False
        self.position = event.seq
        return True

    def reach(self, top: int) -> None:
        self._top = max(self._top, top)
        if self._top > self.position:
            self._rouse(nudged=False)


def beginning(owner: Owner, run: UUID, after: int) -> Beginning:
    """Where following `run` after seq `after` starts. Raises ChatError: not_found, bad_offset."""
    ended = owner.run(run).ended is not None  # read before the top, which then is the terminal event
    first, top = log.span(run)
    if after > top:
        raise ChatError("bad_offset", f"This run has events up to {top}: follow it after {top} or less.", top=top)
    if first > after + 1:
        state = snapshot(run)  # the log was trimmed
        return Beginning(state.seq, top, state)
    return Beginning(after, top, over=ended and after == top)


def snapshot(run_id: UUID) -> Snapshot:
    """The run as of its newest event; of an ended run as of the one before the terminal event, which it never swallows.

    An ended run is read from its message, so it can be had after the log was trimmed. Raises ChatError: not_found, for
    one that was deleted since it was looked up.
    """
    run = Run.objects.select_related("message").filter(id=run_id).first()
    if run is None:
        raise not_found("run")
    if run.ended is not None:
        message = run.message
        return _snapshot(run, log.span(run_id)[1] - 1, run.attempt, message.parts, message.text)
    events = log.read_all(run_id)
    if events and events[-1].type in TERMINAL:
        events.pop()  # it ended while we read
    answer = Answer().apply(events)
    return _snapshot(run, answer.seq, answer.attempt or run.attempt, answer.parts, answer.text)


def _snapshot(run: Run, seq: int, attempt: int, parts: list[dict[str, object]], text: str) -> Snapshot:
    return Snapshot(
        run=str(run.id),
        seq=seq,
        message=str(run.message_id),
        status=run.status,
        attempt=attempt,
        parts=parts,
        text=text,
    )
