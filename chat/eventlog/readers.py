import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from django.db import close_old_connections, connections

P = ParamSpec("P")
T = TypeVar("T")


class Readers:
    """A few threads that read the database, each with its own connection.

    Not `database_sync_to_async`: all of a process' calls through it share one thread, so one slow query would stall
    every socket.
    """

    def __init__(self, threads: int = 3) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="chat-reader")

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        def work() -> T:
            try:
                return function(*args, **kwargs)
            finally:
                _give_back()

        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        # A barrier makes every thread take exactly one of the closing jobs.
        barrier = threading.Barrier(self._threads)

        def leave() -> None:
            barrier.wait(timeout=30)
            connections.close_all()

        for job in [self._pool.submit(leave) for _ in range(self._threads)]:
            job.result()
        self._pool.shutdown()


def _give_back() -> None:
    """Return a pooled connection; keep SQLite's, which is only a file handle and takes 1 ms to set up."""
    if connections["default"].vendor != "sqlite":
        close_old_connections()
