"""What may happen to Redis or to the way there, and streams that live through it. `make chaos` repeats it all."""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import pytest
import redis

from tests.rig import Crowd, Deployment, OwnRedis, Wire, audit, stream
from tests.rig.lateness import late

RATE = 12
BEFORE_S = 0.5
SETTLES_S = 2.5  # the bus tries once a second, and a try may last two
AFTER_S = 1.0
RECONNECTED_S = 5.0

LATE_S = 2.0  # the promise: with Redis away, at most so much slower
LIVE_S = 0.35  # of what comes over Redis; in the gusts of polling one of ten is later than 0.45

HINTS = "chat.run.*"

Fault = Callable[[Deployment, Wire], AbstractContextManager[None]]


@contextmanager
def killed(whole: Deployment, wire: Wire) -> Iterator[None]:
    """It comes back empty."""
    whole.redis.kill()
    try:
        yield
    finally:
        whole.redis.start()


@contextmanager
def frozen(whole: Deployment, wire: Wire) -> Iterator[None]:
    whole.redis.freeze()
    try:
        yield
    finally:
        whole.redis.thaw()


@contextmanager
def silent(whole: Deployment, wire: Wire) -> Iterator[None]:
    wire.silent = True
    try:
        yield
    finally:
        wire.silent = False


@contextmanager
def refused(whole: Deployment, wire: Wire) -> Iterator[None]:
    wire.refusing = True
    wire.cut()
    try:
        yield
    finally:
        wire.refusing = False


@contextmanager
def slow(whole: Deployment, wire: Wire) -> Iterator[None]:
    """500 ms for a question and its answer."""
    wire.delay = 0.25
    try:
        yield
    finally:
        wire.delay = 0


@contextmanager
def full(whole: Deployment, wire: Wire) -> Iterator[None]:
    with whole.redis.client() as client:
        client.config_set("maxmemory", 1)
        with pytest.raises(redis.OutOfMemoryError):
            client.set("no", "room")
        yield
        client.config_set("maxmemory", 0)


@contextmanager
def restarted(whole: Deployment, wire: Wire) -> Iterator[None]:
    whole.redis.stop()
    whole.redis.start()
    yield


@contextmanager
def flushed(whole: Deployment, wire: Wire) -> Iterator[None]:
    with whole.redis.client() as client:
        client.flushall()
    yield


@contextmanager
def unsubscribed(whole: Deployment, wire: Wire) -> Iterator[None]:
    with whole.redis.client() as client:
        cut_all(client, "pubsub", len(whole.processes))
    yield


@contextmanager
def disconnected(whole: Deployment, wire: Wire) -> Iterator[None]:
    with whole.redis.client() as client:
        client.client_kill_filter(_type="pubsub")
        cut_all(client, "normal", len(whole.workers))
    yield


def cut_all(client: "redis.Redis", kind: str, least: int) -> None:
    """At least so many: one that another fault has just cut has to come back first."""
    cut, give_up = 0, time.monotonic() + RECONNECTED_S
    while (cut := cut + client.client_kill_filter(_type=kind, skipme=True)) < least:
        assert time.monotonic() < give_up, f"{cut} of {least} {kind} connections"
        time.sleep(0.02)


@contextmanager
def stranger(server: OwnRedis) -> Iterator[Callable[[], int]]:
    """Says all hints again, twice, late and in another order, and things that are no hints. How often it spoke."""
    spoken: set[bytes] = set()
    held: list[tuple[bytes, bytes]] = []
    rng = random.Random(1)

    def hear(message: dict[str, Any]) -> None:
        channel, data = message["channel"], message["data"]
        if data in spoken or data.startswith(b"no hint"):
            return
        spoken.add(data)
        held.extend([(channel, data)] * 2)
        if len(held) < 20:
            return
        rng.shuffle(held)
        with speaker.pipeline(transaction=False) as pipe:
            for each, late in held[10:]:
                pipe.publish(each, late)
                pipe.publish(each, b"no hint" + rng.randbytes(rng.randrange(40)))
            pipe.execute()
        del held[10:]

    with server.client() as speaker, server.client() as listener, listener.pubsub() as pubsub:
        pubsub.psubscribe(**{HINTS: hear})
        thread = pubsub.run_in_thread(sleep_time=0.1, daemon=True)
        try:
            yield lambda: len(spoken)
        finally:
            thread.stop()
            thread.join(5)


LASTING = ((killed, refused), (frozen, silent), (slow, full))
MOMENTS = (restarted, flushed, unsubscribed, disconnected)


class Ride(NamedTuple):
    crowds: list[Crowd]
    worst: float  # seconds that the latest chunk was late
    after: float  # and nine of ten, once Redis had been back for a while

    def check(self) -> None:
        assert {client.connections for crowd in self.crowds for client in crowd.clients} == {1}
        assert self.worst <= LATE_S
        assert self.after <= LIVE_S


async def ride(
    whole: Deployment, wire: Wire, faults: Sequence[Fault], *, lasting: float = 1.5, runs: int = 10, tabs: int = 3
) -> Ride:
    """Streams over both web processes with one fault after the other in their midst, each of `lasting` seconds."""
    visitor = await asyncio.to_thread(whole.visitor)
    # What the faults themselves take comes on top: a server that starts, a loop that is busy.
    seconds = BEFORE_S + len(faults) * (lasting + 0.5) + SETTLES_S + AFTER_S
    async with stream(whole.urls(), visitor, runs=runs, tabs=tabs, chunks=round(RATE * seconds), rate=RATE) as crowds:
        begun = time.monotonic()
        await asyncio.sleep(BEFORE_S)
        for fault in faults:
            await during(fault(whole, wire), lasting)
        mended = time.monotonic()
    audit(whole, crowds)
    after = late(crowds, RATE, mended + SETTLES_S)
    assert len(after) > runs * tabs, "the streams ended before Redis was back for long enough"
    return Ride(crowds, late(crowds, RATE, begun)[-1], after[len(after) * 9 // 10])


async def during(fault: AbstractContextManager[None], seconds: float) -> None:
    await asyncio.to_thread(fault.__enter__)
    try:
        await asyncio.sleep(seconds)
    finally:
        await asyncio.to_thread(fault.__exit__, None, None, None)
