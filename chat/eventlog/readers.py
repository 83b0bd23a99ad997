import asyncio
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from django.db import InterfaceError, OperationalError, connection

from chat.eventlog.threads import Threads

P = ParamSpec("P")
T = TypeVar("T")

AT_ONCE_SECONDS = 1.0


class Readers:
    """A few threads that read the database, each with its own connection.

    Not `database_sync_to_async`: all of a process' calls through it share one thread, so one slow query would stall
    every socket.
    """

    def __init__(self, threads: int = 3) -> None:
        self._threads = Threads(threads, "chat-reader")

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        def work() -> T:
            begun = time.monotonic()
            try:
                return function(*args, **kwargs)
            except (OperationalError, InterfaceError):
                if not _lost() or time.monotonic() - begun > AT_ONCE_SECONDS:
                    raise
            # It broke while it was used. A read may be repeated, and a server that is away says so at once.
            return function(*args, **kwargs)

        return await asyncio.wrap_future(self._threads.submit(work))

    def close(self) -> None:
        self._threads.close()


def _lost() -> bool:
    """Whether an error left this thread without its connection. What is left of it is put away."""
    lost = bool(getattr(connection.connection, "closed", False))
    if lost:
        connection.close()
    return lost
