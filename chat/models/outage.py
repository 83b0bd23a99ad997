"""What tells a database that does not answer from a bug, and how it is logged."""

import logging
import threading
import time

from django.db import InterfaceError, InternalError, OperationalError

SECONDS = 1.0  # between two lines of one kind

# https://www.postgresql.org/docs/current/errcodes-appendix.html
READ_ONLY = "25006"
IDLE_IN_TRANSACTION = "25P03"
LOCKED = {"55P03", "40P01"}  # a lock was not had in time; deadlock
# https://sqlite.org/rescode.html: SQLITE_ERROR is a statement that is wrong, as are no table and no column.
SQLITE_ERROR = 1

_lock = threading.Lock()
_told: dict[tuple[str, str], tuple[float, int]] = {}


def is_outage(error: BaseException | None) -> bool:
    """Whether the same call may succeed in a moment, without anything being mended here."""
    if isinstance(error, InterfaceError):
        return True
    if isinstance(error, OperationalError):
        return getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF != SQLITE_ERROR
    return isinstance(error, InternalError) and _sqlstate(error) in {READ_ONLY, IDLE_IN_TRANSACTION}


def is_locked(error: BaseException) -> bool:
    """Somebody else holds a lock on the row; other rows are not concerned."""
    return isinstance(error, OperationalError) and _sqlstate(error) in LOCKED


def _sqlstate(error: BaseException) -> str | None:
    return getattr(error.__cause__, "sqlstate", None)


def tell(log: logging.Logger, what: str, error: BaseException) -> None:
    """One line a second for each `what`: an outage is met by every socket, every run and every request at once."""
    now = time.monotonic()
    key = log.name, what
    with _lock:
        since, more = _told.get(key, (0.0, 0))
        if now < since + SECONDS:
            _told[key] = since, more + 1
            return
        _told[key] = now, 0
    log.warning("%s%s: %s", what, f" (and {more} more)" if more else "", cause(error))


def cause(error: BaseException) -> str:
    """The first line only: what a database adds (DETAIL, CONTEXT) may hold what the user wrote."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
