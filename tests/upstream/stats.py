"""What the upstream saw. opened == active + finished + aborted + broken + refused, at any moment."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

Kept = TypeVar("Kept")
KEPT = 500  # bodies and aborts; a load test must not fill the memory


class Abort(msgspec.Struct):
    """A client that left before the end."""

    seed: int | str
    at: float  # time.monotonic(), one clock for all processes of a machine
    chunks: int  # text chunks written until then
    request: int  # number of the request, from 1


class Stats(msgspec.Struct):
    connections: int = 0
    opened: int = 0
    active: int = 0
    finished: int = 0
    aborted: int = 0
    broken: int = 0  # cut or closed early by the scenario
    refused: int = 0  # answered by an HTTP error
    titles: int = 0  # requests with stream=false
    chunks: int = 0  # text chunks of ended streams
    tries: dict[str, int] = {}
    aborts: list[Abort] = []
    requests: list[dict[str, Any]] = []


class Ledger:
    """The live Stats, and waiting for them from a coroutine or from another thread."""

    def __init__(self) -> None:
        self.stats = Stats()
        self._changed = threading.Condition()
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def connect(self) -> None:
        with self._changed:
            self.stats.connections += 1
            self._tell()

    def arrive(self, body: dict[str, Any], seed: int | str) -> int:
        """Note a streaming request; the number of tries of its seed."""
        with self._changed:
            stats = self.stats
            stats.opened += 1
            stats.active += 1
            tries = stats.tries[str(seed)] = stats.tries.get(str(seed), 0) + 1
            self._keep(stats.requests, body)
            self._tell()
            return tries

    def arrive_title(self, body: dict[str, Any]) -> None:
        with self._changed:
            self.stats.titles += 1
            self._keep(self.stats.requests, body)
            self._tell()

    def end(self, outcome: str, chunks: int) -> None:
        with self._changed:
            self._end(outcome, chunks)
            self._tell()

    def abort(self, seed: int | str, chunks: int, request: int) -> None:
        with self._changed:
            self._end("aborted", chunks)
            self._keep(self.stats.aborts, Abort(seed, time.monotonic(), chunks, request))
            self._tell()

    def _end(self, outcome: str, chunks: int) -> None:
        self.stats.active -= 1
        self.stats.chunks += chunks
        setattr(self.stats, outcome, getattr(self.stats, outcome) + 1)

    def reset(self) -> None:
        """All back to zero but what is still running."""
        with self._changed:
            active = self.stats.active
            self.stats = Stats(opened=active, active=active)
            self._tell()

    def as_json(self) -> bytes:
        with self._changed:
            return msgspec.json.encode({**msgspec.to_builtins(self.stats), "now": time.monotonic()})

    def wait(self, holds: Callable[[Stats], bool], timeout: float) -> Stats:
        with self._changed:
            if not self._changed.wait_for(lambda: holds(self.stats), timeout):
                raise TimeoutError(f"upstream: not so within {timeout} s: {self.stats}")
            return self.stats

    async def until(self, holds: Callable[[Stats], bool], timeout: float) -> Stats:
        waiter = (asyncio.get_running_loop(), asyncio.Event())
        self._waiting.add(waiter)
        try:
            async with asyncio.timeout(timeout):
                while not holds(self.stats):
                    await waiter[1].wait()
                    waiter[1].clear()
        except TimeoutError:
            raise TimeoutError(f"upstream: not so within {timeout} s: {self.stats}") from None
        finally:
            self._waiting.discard(waiter)
        return self.stats

    def _tell(self) -> None:
        self._changed.notify_all()
        for loop, event in tuple(self._waiting):
            loop.call_soon_threadsafe(event.set)

    @staticmethod
    def _keep(kept: list[Kept], new: Kept) -> None:
        kept.append(new)
        if len(kept) > KEPT:
            del kept[0]
