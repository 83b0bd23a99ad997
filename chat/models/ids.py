import secrets
import time
from uuid import UUID

from uuid_utils import compat


def new_id() -> UUID:
    """A UUIDv7: unguessable in its last 74 bits, and sorted by time, so that an index grows at one end."""
    return compat.uuid7()


def new_log_id() -> int:
    """63 bits: milliseconds and 21 random bits. Two that fall together violate a constraint, and are drawn again."""
    return (time.time_ns() // 1_000_000 & (1 << 42) - 1) << 21 | secrets.randbits(21)
