from uuid import UUID

from uuid_utils import compat


def new_id() -> UUID:
    """A UUIDv7: unguessable in its last 74 bits, and sorted by time, so that an index grows at one end."""
    return compat.uuid7()
