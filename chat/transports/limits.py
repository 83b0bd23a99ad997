"""What one socket may ask of the server: operations a second, and bytes on their way to it."""

import asyncio
import time
from collections import deque

WINDOW_BYTES = 256 * 1024
# Refused operations in a row after which a socket is taken for a flood and closed.
FLOOD = 500


class TokenBucket:
    """`rate` operations a second, with a burst of two seconds' worth."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._tokens = float(rate * 2)
        self._at = time.monotonic()
        self.refused = 0

    def take(self) -> bool:
        now = time.monotonic()
        self._tokens = min(self._rate * 2, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            self.refused += 1
            return False
        self._tokens -= 1
        self.refused = 0
        return True


class NoAck(Exception):
    pass


class Window:
    """Bytes of a run that the client has not acknowledged: at most WINDOW_BYTES, then its log is no longer read."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._frames: deque[tuple[int, int]] = deque()
        self._bytes = 0
        self._acked = asyncio.Event()

    def ack(self, seq: int) -> None:
        while self._frames and self._frames[0][0] <= seq:
            self._bytes -= self._frames.popleft()[1]
        self._acked.set()

    def sent(self, seq: int, size: int) -> None:
        self._frames.append((seq, size))
        self._bytes += size

    @property
    def full(self) -> bool:
        return self._bytes > WINDOW_BYTES

    async def room(self) -> None:
        """Returns when there is room for the next frame. Raises NoAck."""
        while self.full:
            self._acked.clear()
            try:
                async with asyncio.timeout(self._timeout):
                    await self._acked.wait()
            except TimeoutError:
                raise NoAck from None
