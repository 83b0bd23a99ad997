import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections

P = ParamSpec("P")
T = TypeVar("T")

# One call of a thread of the engine's may take the database so long, in seconds: others wait behind it.
STATEMENT_SECONDS = 5.0
# A lock that somebody else holds is waited for so long, then the thread is given to others and the call tried again.
LOCK_SECONDS = 0.1


def keep_connection() -> None:
    """For a thread of the engine: it has a connection of its own, where connections are shared."""
    mine: Any = connections[DEFAULT_DB_ALIAS]
    if hasattr(mine, "dedicate"):  # config/postgres; SQLite's is only a file handle
        mine.dedicate(statement=STATEMENT_SECONDS, lock=LOCK_SECONDS)


def mend_connection() -> None:
    """Before a call: the server may have ended the connection since the last one."""
    mine: Any = connections[DEFAULT_DB_ALIAS]
    if hasattr(mine, "drop_if_hung_up"):
        mine.drop_if_hung_up()


class Threads:
    """As many threads as asked for, at most, each with a database connection of its own."""

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._pool = ThreadPoolExecutor(most, thread_name_prefix=name, initializer=keep_connection)
        self._used = False

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        def work() -> T:
            mend_connection()
            return function(*args, **kwargs)

        self._used = True
        return self._pool.submit(work)

    def close(self) -> None:
        """Waits for what was submitted."""
        if self._used:
            # A barrier makes every thread take exactly one of the closing jobs.
            barrier = threading.Barrier(self._most)

            def leave() -> None:
                barrier.wait(timeout=30)
                connections.close_all()

            for job in [self._pool.submit(leave) for _ in range(self._most)]:
                job.result()
        self._pool.shutdown()
