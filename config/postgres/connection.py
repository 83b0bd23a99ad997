"""One connection to Postgres: made without delay or not at all, and never waited on for ever."""

import select
import threading
import time
from typing import Any, TypeVar

import psycopg
from psycopg.pq import ConnStatus, TransactionStatus

T = TypeVar("T")

# After a try that failed nobody tries again for so long; they are told the same. While nothing answers, a try takes
# seconds, and those who wait for a thread would wait for one try after the other.
RETRY_SECONDS = 0.5
# A client that was frozen inside a transaction must not keep its locks: the runs it held are to be taken over.
IDLE_IN_TRANSACTION_SECONDS = 10
# Beyond the server's own limit for a statement, so that the server, if it is there, says so first.
GRACE_SECONDS = 1.0


class Connection(psycopg.Connection[Any]):
    """`patience`: seconds for one answer. Without it a server that is frozen, or a proxy that swallows all, is waited
    on for ever: TCP notices neither."""

    patience: float | None = None

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        try:
            return super().wait(gen, interval, timeout or self.patience)
        except psycopg.errors._WaitTimeout:
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer for {timeout or self.patience:g} s") from None


class Door:
    """Where connections are made; it remembers for a moment that the last try failed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed_until = 0.0
        self._reason = ""

    def connect(self, params: dict[str, Any]) -> Connection:
        with self._lock:
            if time.monotonic() < self._closed_until:
                raise psycopg.OperationalError(self._reason)
        try:
            connection = Connection.connect(**params)
        except psycopg.OperationalError as error:
            with self._lock:
                self._closed_until, self._reason = time.monotonic() + RETRY_SECONDS, str(error)
            raise
        return connection


def limit(connection: Connection, *, statement: float | None = None, lock: float | None = None) -> None:
    """Seconds for each statement, and for each wait for a lock. By SET: a pooler in between refuses start options."""
    limits = {
        "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_SECONDS,
        "statement_timeout": statement,
        "lock_timeout": lock,
    }
    given = [f"SET {name} = {round(seconds * 1000)}" for name, seconds in limits.items() if seconds]
    connection.execute("; ".join(given))
    if statement:
        connection.patience = statement + GRACE_SECONDS


def hung_up(connection: Connection) -> bool:
    """Costs no round trip: the server says nothing unasked but its goodbye."""
    if connection.pgconn.status != ConnStatus.OK:
        return True
    if connection.pgconn.transaction_status != TransactionStatus.IDLE:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
