"""Writes one run that a socket follows to that socket."""

import asyncio
from collections.abc import Awaitable, Callable

from chat.protocol import events, frames
from chat.runs.follow import Follower
from chat.transports.limits import NoAck, Window

Send = Callable[[str], Awaitable[None]]
SendNow = Callable[[str], bool]

# The ASGI extension of a server that can write a text frame at once: a SendNow, False when it would have to wait.
SEND_NOW = "chat.send_now"


class Relay:
    """`session`: the open chat session that it is followed for; None after run.follow, which outlives closing it."""

    def __init__(
        self,
        follower: Follower,
        send: Send,
        send_now: SendNow | None,
        on_no_ack: Callable[[], None],
        session: str | None = None,
    ) -> None:
        self.follower = follower
        self.session = session
        self.task: asyncio.Task[None] | None = None
        self._send = send
        self._send_now = send_now
        self._on_no_ack = on_no_ack
        self._window: Window | None = None

    async def run(self) -> None:
        if self._send_now is not None:
            self.follower.sink = self._push
        try:
            async for batch in self.follower:
                if isinstance(batch, list):
                    await self._relay(batch)
                else:
                    await self._send(frames.encode(batch))
        except NoAck:
            self._on_no_ack()
        except OSError:
            pass  # the client is gone, which the consumer hears of by itself
        finally:
            self.follower.close()

    async def _relay(self, batch: list[events.Event]) -> None:
        for seq, frame in events.frames(self.follower.key, batch):
            if self._window is not None:
                await self._window.room()
            await self._send(frame)
            self._count(seq, frame)

    def _push(self, event: events.Event) -> bool:
        """Send from within the bus's call: waking the task for each event of a live run would double its cost here."""
        assert self._send_now is not None
        if self._window is not None and self._window.full:
            return False
        frame = events.frame(self.follower.key, event)
        if not self._send_now(frame):
            return False
        if self._window is not None:
            self._count(event.seq, frame)
        return True

    def _count(self, seq: int, frame: str) -> None:
        if self._window is not None:
            self._window.sent(seq, len(frame) if frame.isascii() else len(frame.encode()))

    def ack(self, seq: int, timeout: float) -> None:
        if self._window is None:
            self._window = Window(timeout)
        self._window.ack(seq)

    async def stop(self) -> None:
        """Returns when nothing more will be sent."""
        self.follower.close()
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
