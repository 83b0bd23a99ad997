import threading
import time
import weakref
from collections import deque
from collections.abc import Callable

import psycopg
from psycopg.pq import TransactionStatus

from config.postgres.connection import Connection, hung_up

# One that was not needed for so long is closed when the next is given back.
IDLE_SECONDS = 5.0


class Pool:
    """Connections that HTTP requests gave back, for the next ones.

    Not psycopg_pool: that one connects in the background, in pauses that double while the server is away. Measured, it
    had no connection for 12 s after an outage of 15. Here the caller connects, so an outage is known at once and over
    at once.
    """

    def __init__(self, most: int, patience: float) -> None:
        self.most = most
        self._patience = patience
        self._idle: deque[tuple[float, Connection]] = deque()
        # Weak: a connection that a dying thread drops does not take up a place for ever.
        self._lent: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._coming = 0
        self._changed = threading.Condition()

    @property
    def size(self) -> int:
        return len(self._idle) + len(self._lent) + self._coming

    def take(self, connect: Callable[[], Connection]) -> Connection:
        """Raises psycopg.OperationalError: the server does not answer, or all are in use for longer than we wait."""
        with self._changed:
            if not self._changed.wait_for(self._room, self._patience):
                raise psycopg.OperationalError(f"all {self.most} connections of this process are in use")
            self._coming += 1
            idle = [self._idle.pop()[1]] if self._idle else []
        connection: Connection | None = None
        try:
            connection = self._usable(idle) or connect()
        finally:
            with self._changed:
                self._coming -= 1
                if connection is not None:
                    self._lent.add(connection)
                else:
                    self._changed.notify()
        return connection

    def _room(self) -> bool:
        return len(self._lent) + self._coming < self.most

    def _usable(self, idle: list[Connection]) -> Connection | None:
        for connection in idle:
            if not hung_up(connection):
                return connection
            connection.close()
            # The others are of the same age: a restart ended them all.
            with self._changed:
                others, self._idle = self._idle, deque()
            for _, other in others:
                other.close()
        return None

    def give_back(self, connection: Connection) -> None:
        whole = not connection.closed and connection.pgconn.transaction_status == TransactionStatus.IDLE
        now = time.monotonic()
        with self._changed:
            self._lent.discard(connection)
            old = [self._idle.popleft()[1] for since, _ in tuple(self._idle) if since < now - IDLE_SECONDS]
            if whole:
                self._idle.append((now, connection))
            self._changed.notify()
        for each in old if whole else [*old, connection]:
            each.close()

    def clear(self) -> None:
        with self._changed:
            idle, self._idle = self._idle, deque()
        for _, connection in idle:
            connection.close()
