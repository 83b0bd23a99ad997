"""The time limits of one answer, kept by a single timer.

A timer per chunk (`asyncio.timeout` around each read) would cost more than decoding the chunk. Here a read only notes
when it began waiting; the timer looks at that note when it fires, and sets itself again for the earliest limit left.

connect      the TCP and TLS connection; kept by the HTTP client, named here because all limits are set together
first_token  from the request, its retries included, to the first text or reasoning; heartbeats don't count
idle         silence between two reads afterwards; heartbeats count as life. Only waiting counts: a slow consumer is no
             silence of the upstream
total        the whole answer
tail         from the finish reason to the end of the body (usage, [DONE]): then the answer is taken as complete
"""

import asyncio
import math

import msgspec


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """All in seconds."""

    connect: float = 10
    first_token: float = 60
    idle: float = 60
    total: float = 900
    tail: float = 5


class Watchdog:
    """Cancels the task that made it when it waits past a limit, and only while it waits between `begin` and `end`.

    Who waits for every chunk sets `since` and `waiting` itself, as these two do.
    """

    __slots__ = (
        "_cancelling",
        "_first",
        "_handle",
        "_idle",
        "_loop",
        "_tail",
        "_task",
        "_total",
        "expired",
        "since",
        "waiting",
    )

    def __init__(self, limits: Timeouts) -> None:
        self._loop = asyncio.get_running_loop()
        now = self._loop.time()
        self._first = now + limits.first_token
        self._total = now + limits.total
        self._tail = math.inf
        self._idle = limits.idle
        self.since = now
        # Asked once: Python 3.11's `current_task` took a tenth of a busy server's CPU when each read called it.
        self._task = asyncio.current_task()
        self.waiting = False
        self._cancelling = 0
        self.expired = ""
        self._handle = self._loop.call_at(self._next()[0], self._check)

    def begin(self) -> None:
        """The task starts to wait for the upstream."""
        self.since = self._loop.time()
        self.waiting = True

    def end(self) -> None:
        self.waiting = False

    def started(self) -> None:
        """The first token is there: from now on the idle limit holds."""
        self._first = math.inf
        self.since = self._loop.time()
        self._arm()

    def finishing(self, within: float) -> None:
        """The answer is complete; wait at most this long for what may follow it."""
        self._tail = self._loop.time() + within
        self._arm()

    def time_for_retry(self, wait: float) -> bool:
        return self._loop.time() + wait < self._next()[0]

    def interrupted(self) -> bool:
        """Was the CancelledError that just arrived ours? Then it is taken back, as `asyncio.timeout` does."""
        if not self.expired or self._task is None:
            return False
        return self._task.uncancel() <= self._cancelling  # more: somebody else cancelled as well, and goes first

    def close(self) -> None:
        self._handle.cancel()
        self.waiting = False

    def _next(self) -> tuple[float, str]:
        if self._tail < math.inf:
            return min((self._tail, "tail"), (self._total, "total"))
        if self._first < math.inf:
            return min((self._first, "first_token"), (self._total, "total"))
        since = self.since if self.waiting else self._loop.time()
        return min((since + self._idle, "idle"), (self._total, "total"))

    def _arm(self) -> None:
        self._handle.cancel()
        self._handle = self._loop.call_at(self._next()[0], self._check)

    def _check(self) -> None:
        when, name = self._next()
        if self._loop.time() < when:
            self._handle = self._loop.call_at(when, self._check)
            return
        if self._task is None or not self.waiting:  # nobody waits: look again soon, the next wait may begin any time
            self._handle = self._loop.call_later(0.05, self._check)
            return
        self.expired = name
        self._cancelling = self._task.cancelling()
        self._task.cancel()
