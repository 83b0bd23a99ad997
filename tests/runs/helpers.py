import asyncio
import hashlib
import json
import os
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.utils import timezone

from chat.eventlog import log
from chat.models import Message, Run
from chat.protocol.answer import Answer
from chat.protocol.events import TERMINAL, Event, RunRestarted, decode_ended, encode_data
from chat.protocol.frames import Snapshot
from chat.protocol.operations import PromptSend
from chat.runs.engine import Engine
from chat.runs.follow import Follower
from chat.runs.owner import Owner
from chat.runs.start import Accepted

CHAOS = os.environ.get("CHAOS") == "1"

MESSAGE_OF = {"completed": "done", "stopped": "stopped", "failed": "failed"}


def times(short: int, long: int) -> int:
    """Repetitions in the suite, and with CHAOS=1."""
    return long if CHAOS else short


async def ask(engine: Engine, owner: Owner, text: str = "Hello", **fields: Any) -> Accepted:
    return await engine.start(owner, PromptSend(text=text, **fields))


async def collect(engine: Engine, owner: Owner, run: UUID, after: int = 0) -> list[Event]:
    """Every event after `after`, to the end of the run."""
    events: list[Event] = []
    async for batch in await engine.follow(owner, run, after):
        assert isinstance(batch, list)
        events += batch
    return events


def text_of(events: list[Event]) -> str:
    return "".join(json.loads(event.data)["text"] for event in events if event.type == "text.delta")


def data(event: Event) -> dict[str, Any]:
    return dict(json.loads(event.data))


async def wait_ended(engine: Engine, owner: Owner, run: UUID) -> Run:
    await collect(engine, owner, run)
    return await sync_to_async(Run.objects.select_related("message", "session").get)(id=run)


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float = 10) -> None:
    """Wait for `condition`, which is looked at again and again."""
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.005)


class Client:
    """Reads a run as a client does: every frame must continue where the last one ended."""

    def __init__(self, engine: Engine, owner: Owner, run: UUID) -> None:
        self.engine = engine
        self.owner = owner
        self.run = run
        self.answer = Answer()
        self.ended: Event | None = None
        self.snapshots = 0
        self.takes: Callable[[], bool] | None = None  # whether the next event is taken from within the bus's call
        self._follower: Follower | None = None

    async def step(self) -> bool:
        """Take what comes next; False after the end."""
        if self._follower is None:
            self._follower = await self.engine.follow(self.owner, self.run, self.answer.seq)
            self._follower.sink = self._sink if self.takes else None
        try:
            item = await self._follower.__anext__()
        except StopAsyncIteration:
            return False
        if isinstance(item, Snapshot):
            self.snapshots += 1
            self.resume_from(item)
            return True
        for event in item:
            self._apply(event)
        return True

    def _sink(self, event: Event) -> bool:
        assert self.takes is not None
        if self.takes():
            self._apply(event)
            return True
        return False

    def _apply(self, event: Event) -> None:
        assert event.seq == self.answer.seq + 1, "a gap, a repeat or another order"
        assert self.ended is None, "an event after the terminal one"
        self.answer.apply([event])
        if event.type in TERMINAL:
            self.ended = event

    def resume_from(self, snapshot: Snapshot) -> None:
        everything = encode_data(RunRestarted(snapshot.attempt, "snapshot", snapshot.parts))
        self.answer = Answer().apply([Event(snapshot.seq, "run.restarted", everything)])

    async def read(self) -> "Client":
        while await self.step():
            continue
        return self

    def cut(self) -> None:
        if self._follower is not None:
            self._follower.close()
            self._follower = None

    def check(self) -> None:
        """It holds what the terminal event says the whole answer is."""
        assert self.ended is not None
        assert_whole(self.answer.text, self.ended)


def assert_whole(text: str, ended: Event) -> None:
    end = decode_ended(ended.data)
    assert (end.text_length, end.text_sha256) == (len(text), hashlib.sha256(text.encode()).hexdigest())


def check(run_id: UUID) -> Run:
    """The invariants of a run that ended, from the database alone."""
    run = Run.objects.select_related("message").get(id=run_id)
    events = log.read_all(run_id)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert run.ended is not None
    assert [event.type for event in events if event.type in TERMINAL] == [f"run.{run.status}"]
    assert events[-1].type in TERMINAL
    answer = Answer().apply(events)
    assert_whole(answer.text, events[-1])
    assert (run.message.text, run.message.parts) == (answer.text, answer.parts)
    assert run.message.status == MESSAGE_OF[run.status]
    attempts = [data(event)["attempt"] for event in events if event.type in {"run.started", "run.restarted"}]
    assert attempts == sorted(set(attempts))
    assert all(attempt <= run.attempt for attempt in attempts)
    return run


def nothing_left_active() -> None:
    assert not Run.objects.filter(ended=None).exists()
    assert not Message.objects.filter(status=Message.Status.STREAMING).exists()


acheck = sync_to_async(check)


@sync_to_async
def get_run(run: UUID) -> Run:
    return Run.objects.select_related("message", "session").get(id=run)


@sync_to_async
def expire(run: UUID | None = None) -> None:
    """Let the lease run out, as ten silent seconds would."""
    runs = Run.objects.filter(status=Run.Status.RUNNING)
    (runs.filter(id=run) if run else runs).update(lease_until=timezone.now() - timedelta(seconds=1))


async def freeze(engine: Engine) -> None:
    """Stop its tick: it renews no lease and takes nothing over, but goes on writing, as a zombie would."""
    for task in list(engine._tasks):
        if getattr(task.get_coro(), "__name__", "") == "tick_for_ever":
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def crash(engine: Engine) -> None:
    """As kill -9 right after the next commit leaves it: no more is written, no run ended, no lease given back."""
    tasks = [*engine._tasks, *engine.starting]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await engine.writer.close()
    await asyncio.to_thread(engine.readers.close)
