import secrets
import threading
import time
from uuid import UUID

from uuid_utils import compat

_lock = threading.Lock()
_last = 0


def new_id() -> UUID:
    """A UUIDv7: unguessable in its last 74 bits, and sorted by time, so that an index grows at one end."""
    return compat.uuid7()


def new_log_id() -> int:
    """63 bits: milliseconds and 21 random bits; within a process each is greater than the one before.

    Two of different processes that fall together violate a constraint, and the run is begun once more.
    """
    global _last
    with _lock:
        _last = max(_last + 1, (time.time_ns() // 1_000_000 & (1 << 42) - 1) << 21 | secrets.randbits(21))
        return _last
