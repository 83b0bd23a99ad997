"""Sends the steps of one answer, each at its moment."""

import asyncio
import socket
import struct
import time
from collections.abc import Callable, Iterator

from tests.upstream.play import Act, Step

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
# The loop's clock stands still within a turn and its timers are rounded to milliseconds: nothing may come too early.
TIMER_S = 0.001
WRITES_PER_TURN = 64  # of a stream without a rate; then the others have their turn


def reset(transport: asyncio.Transport) -> None:
    """Close with RST instead of FIN."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    transport.abort()


class Stream:
    """No task per stream: one timer handle at a time, set to an absolute moment, so that lateness never adds up."""

    def __init__(self, transport: asyncio.Transport, steps: Iterator[Step], ended: Callable[[Act], None]) -> None:
        self._transport = transport
        self._steps = steps
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._start = time.monotonic() + TIMER_S
        self._next: asyncio.Handle | None = None
        self._paused = False
        self._due = False  # its moment came while paused
        self._open = True

    def pump(self) -> None:
        self._next = None
        write, budget = self._transport.write, WRITES_PER_TURN
        while self._open:
            if self._paused:
                self._due = True
                return
            step = next(self._steps)
            if isinstance(step, bytes):
                write(step)
                budget -= 1
            elif isinstance(step, float | int):
                when = self._start + step
                if when > self._loop.time():
                    self._next = self._loop.call_at(when, self.pump)
                    return
            elif step is not Act.TURN:
                self._act(step)
                return
            if step is Act.TURN or budget <= 0:
                self._next = self._loop.call_soon(self.pump)
                return

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        if self._due:
            self._due = False
            self.pump()

    def stop(self) -> None:
        self._open = False
        if self._next is not None:
            self._next.cancel()

    def _act(self, act: Act) -> None:
        # What was written before is out: a full buffer pauses the pump, and the high-water mark is 0.
        if act is Act.STALL:
            return
        self._open = False
        self._ended(act)
