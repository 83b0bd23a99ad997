"""The bus between processes: what one process has committed is published over Redis to those who follow it elsewhere.

Redis is an accelerator and never the truth. A batch goes out after its commit, as a hint with a payload; nothing waits
for it, nothing is lost with it, and a follower that hears nothing finds the log by polling.
"""

import asyncio
import contextlib
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import redis.asyncio as redis
from redis.exceptions import RedisError

from chat.eventlog.bus import Bus, Subscriber
from chat.protocol.events import Event

log = logging.getLogger(__name__)

CHANNEL = "chat.run."
# The subscribing connection must listen to something, also when nobody follows a run.
NOBODY = CHANNEL + "nobody"
# What may wait for a Redis that is slow; beyond, the oldest is dropped. Hints are no buffer: the log is.
MOST_WAITING = 2_000
SEND_TIMEOUT = 2.0
RETRY_SECONDS = 1.0
CLOSE_SECONDS = 1.0
# A subscription that heard nothing for so long is asked whether it is still there.
PING_SECONDS = 15.0


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
        self._pubsub: Any = None
        self._tasks: list[asyncio.Task[None]] = []
        self._changing: set[asyncio.Task[None]] = set()

    @property
    def reached(self) -> bool:
        return self._pubsub is not None

    async def open(self) -> None:
        self._tasks = [asyncio.create_task(self._for_ever(each)) for each in (self._listen, self._send)]

    async def close(self) -> None:
        # The last hints tell others of the end of a run; a Redis that is down must not hold up a shutdown.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._sent.wait()
        tasks = [*self._tasks, *self._changing]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Publishing -----------------------------------------------------------------------------------------------------

    def publish(self, run: str, events: Sequence[Event]) -> None:
        super().publish(run, events)
        hint = Hint(self._origin, [(event.seq, event.type, event.data) for event in events])
        self._waiting.append((CHANNEL + run, _encode(hint)))
        self._something.set()
        self._sent.clear()

    async def _send(self) -> None:
        """All that gathered since the last time, in one round trip."""
        # A connection of its own, with a limit: what Redis does not take soon is not worth the wait.
        async with redis.Redis.from_url(self._url, socket_timeout=SEND_TIMEOUT, protocol=2) as client:
            while True:
                await self._something.wait()
                self._something.clear()
                async with client.pipeline(transaction=False) as pipe:
                    while self._waiting:
                        pipe.publish(*self._waiting.popleft())
                    await pipe.execute()
                if not self._waiting:
                    self._sent.set()

    # Following ------------------------------------------------------------------------------------------------------

    def subscribe(self, run: str, subscriber: Subscriber) -> None:
        first = run not in self._subscribers
        super().subscribe(run, subscriber)
        if first and self._pubsub is not None:
            self._change(self._pubsub.subscribe, CHANNEL + run)

    def unsubscribe(self, run: str, subscriber: Subscriber) -> None:
        was_followed = run in self._subscribers
        super().unsubscribe(run, subscriber)
        if was_followed and run not in self._subscribers and self._pubsub is not None:
            self._change(self._pubsub.unsubscribe, CHANNEL + run)

    def _change(self, command: Callable[[str], Awaitable[None]], channel: str) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(self._quietly(command, channel))
        self._changing.add(task)
        task.add_done_callback(self._changing.discard)

    async def _quietly(self, command: Callable[[str], Awaitable[None]], channel: str) -> None:
        try:
            await command(channel)
        except (RedisError, OSError) as error:
            # The listening task finds the same, and subscribes to all anew.
            log.debug("Redis did not take a subscription: %s", error)

    async def _listen(self) -> None:
        # No timeout on reading: silence is what a subscription mostly hears.
        client = redis.Redis.from_url(self._url, socket_timeout=None, socket_connect_timeout=SEND_TIMEOUT, protocol=2)
        async with client, client.pubsub() as pubsub:
            await pubsub.subscribe(NOBODY)
            self._pubsub = pubsub  # whoever follows from now on subscribes by itself
            try:
                if self._subscribers:
                    await pubsub.subscribe(*(CHANNEL + run for run in self._subscribers))
                await self._hear(pubsub)
            finally:
                self._pubsub = None
                changing = tuple(self._changing)
                for task in changing:
                    task.cancel()  # it would take a new connection for a subscription that is made anew
                await asyncio.gather(*changing, return_exceptions=True)

    async def _hear(self, pubsub: Any) -> None:
        asked = False
        while True:
            message = await pubsub.get_message(timeout=PING_SECONDS)
            if message is None:
                if asked:
                    raise RedisError(f"the subscription is silent for {2 * PING_SECONDS:g} s")
                await pubsub.ping()
                asked = True
                continue
            asked = False
            if message["type"] == "message":
                self._heard(_run_of(message), message["data"])
            elif message["type"] == "subscribe" and _run_of(message) in self._subscribers:
                self.joined(_run_of(message))

    def _heard(self, run: str, data: bytes) -> None:
        try:
            hint = _decode(data)
        except msgspec.MsgspecError as error:
            log.warning("a hint of another version: %s", error)
            return
        if hint.origin != self._origin and hint.events:
            super().publish(run, [Event(*event) for event in hint.events])

    async def _for_ever(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except (RedisError, OSError) as error:
                log.warning(
                    "Redis does not answer, next try in %g s; followers poll until then: %s", RETRY_SECONDS, error
                )
            except Exception:
                log.exception("the bus failed; followers poll")
            await asyncio.sleep(RETRY_SECONDS)


def _run_of(message: Any) -> str:
    return str(message["channel"].decode()[len(CHANNEL) :])
