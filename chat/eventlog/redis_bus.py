"""The bus between processes: what one process has committed is published over Redis to those who follow it elsewhere.

Redis is an accelerator and never the truth. A batch goes out after its commit, as a hint with a payload; nothing waits
for it, nothing is lost with it, and a follower that hears nothing finds the log by polling.
"""

import asyncio
import contextlib
import logging
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from redis.exceptions import RedisError

from chat.eventlog.bus import Bus, Subscriber
from chat.eventlog.redis_wire import Wire, wire
from chat.protocol.events import Event

log = logging.getLogger(__name__)

CHANNEL = "chat.run."
# The subscribing connection must listen to something, also when nobody follows a run.
NOBODY = CHANNEL + "nobody"
# What may wait for a Redis that is slow; beyond, the oldest is dropped. Hints are no buffer: the log is.
MOST_WAITING = 2_000
CONNECT_TIMEOUT = SEND_TIMEOUT = 2.0
RETRY_SECONDS = 1.0
TELL_SECONDS = 60.0  # it is tried again and again, and told of once in so long
CLOSE_SECONDS = 1.0
# A subscription that heard nothing for so long is asked whether it is still there.
PING_SECONDS = 5.0


class Hint(msgspec.Struct, frozen=True, array_like=True):
    """What is published for a run. `origin` is the process that did: it has told its own followers already."""

    origin: str
    events: list[tuple[int, str, str]]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Hint).decode


class RedisBus(Bus):
    """Belongs to the event loop it is opened on."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._origin = secrets.token_hex(8)
        self._waiting: deque[tuple[str, bytes]] = deque(maxlen=MOST_WAITING)
        self._something = asyncio.Event()
        self._sent = asyncio.Event()  # nothing waits
        self._sent.set()
        self._listening: Wire | None = None
        self._reads = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False

    @property
    def reached(self) -> bool:
        return self._listening is not None

    async def open(self) -> None:
        self._tasks = [asyncio.create_task(self._for_ever(each)) for each in (self._listen, self._send)]

    async def close(self) -> None:
        # The last hints tell others of the end of a run; a Redis that is down must not hold up a shutdown.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._sent.wait()
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # Publishing -----------------------------------------------------------------------------------------------------

    def publish(self, run: str, events: Sequence[Event]) -> None:
        super().publish(run, events)
        hint = Hint(self._origin, [(event.seq, event.type, event.data) for event in events])
        self._waiting.append((CHANNEL + run, _encode(hint)))
        self._something.set()
        self._sent.clear()

    async def _send(self) -> None:
        """All that gathered since the last time, in one round trip."""
        async with wire(self._url, CONNECT_TIMEOUT) as redis:
            while True:
                await self._something.wait()
                self._something.clear()
                hints, self._waiting = self._waiting, deque(maxlen=MOST_WAITING)
                # What Redis does not take soon is not worth the wait.
                async with asyncio.timeout(SEND_TIMEOUT):
                    redis.write(*(("PUBLISH", channel, data) for channel, data in hints))
                    await redis.drain()
                    answered = 0
                    while answered < len(hints):
                        answered += len(await redis.replies())
                if not self._waiting:
                    self._sent.set()

    # Following ------------------------------------------------------------------------------------------------------

    def subscribe(self, run: str, subscriber: Subscriber) -> None:
        first = run not in self._subscribers
        super().subscribe(run, subscriber)
        if first and self._listening is not None:
            self._listening.write(("SUBSCRIBE", CHANNEL + run))

    def unsubscribe(self, run: str, subscriber: Subscriber) -> None:
        was_followed = run in self._subscribers
        super().unsubscribe(run, subscriber)
        if was_followed and run not in self._subscribers and self._listening is not None:
            self._listening.write(("UNSUBSCRIBE", CHANNEL + run))

    async def is_followed(self, run: str) -> bool | None:
        if run in self._subscribers:
            return True
        try:
            async with asyncio.timeout(SEND_TIMEOUT), wire(self._url, CONNECT_TIMEOUT) as redis:
                redis.write(("PUBSUB", "NUMSUB", CHANNEL + run))
                [(_, others)] = await redis.replies()
                return bool(others)
        except (RedisError, OSError):
            return None  # it was told of

    async def _listen(self) -> None:
        async with wire(self._url, CONNECT_TIMEOUT) as redis:
            redis.write(("SUBSCRIBE", *(CHANNEL + run for run in self._subscribers), NOBODY))
            self._listening = redis  # whoever follows from now on subscribes by itself
            hearing = asyncio.create_task(self._hear(redis))
            try:
                await self._while_alive(redis, hearing)
            finally:
                self._listening = None
                hearing.cancel()
                await asyncio.gather(hearing, return_exceptions=True)

    async def _while_alive(self, redis: Wire, hearing: "asyncio.Task[None]") -> None:
        """Raises what `hearing` does, and RedisError when nothing comes, not even an answer to a ping."""
        asked = False
        while True:
            heard = self._reads
            await asyncio.wait({hearing}, timeout=PING_SECONDS)
            if hearing.done():
                return await hearing
            if self._reads != heard:
                asked = False
            elif asked:
                raise RedisError(f"the subscription is silent for {2 * PING_SECONDS:g} s")
            else:
                redis.write(("PING",))
                asked = True

    async def _hear(self, redis: Wire) -> None:
        while True:
            for kind, *rest in await redis.replies():
                if kind == b"message":
                    self._heard(_run_of(rest[0]), rest[1])
                elif kind == b"subscribe" and _run_of(rest[0]) in self._subscribers:
                    self.joined(_run_of(rest[0]))
            self._reads += 1

    def _heard(self, run: str, data: bytes) -> None:
        try:
            hint = _decode(data)
        except msgspec.MsgspecError as error:
            log.warning("a hint of another version: %s", error)
            return
        if hint.origin != self._origin and hint.events:
            super().publish(run, [Event(*event) for event in hint.events])

    async def _for_ever(self, work: Callable[[], Awaitable[None]]) -> None:
        told = float("-inf")
        # Asked, not only cancelled: an error of redis-py's own clean-up may take the place of a cancellation.
        while not self._closing:
            try:
                await work()
            except (RedisError, OSError) as error:
                if time.monotonic() - told > TELL_SECONDS:
                    why = str(error) or type(error).__name__
                    log.warning("Redis does not answer, followers poll until it does: %s", why)
                    told = time.monotonic()
            except Exception:
                log.exception("the bus failed; followers poll")
            if not self._closing:
                await asyncio.sleep(RETRY_SECONDS)


def _run_of(channel: bytes) -> str:
    return channel.decode()[len(CHANNEL) :]
