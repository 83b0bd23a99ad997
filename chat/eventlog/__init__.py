"""Floor 1: a run's log in the database, which is the truth, and the bus that hints at what was just appended."""

from chat.eventlog.bus import Bus
from chat.eventlog.lease import UNFLUSHED_EVENTS, Lease
from chat.eventlog.readers import Readers
from chat.eventlog.redis_bus import RedisBus
from chat.eventlog.writer import LogWriter

__all__ = ["UNFLUSHED_EVENTS", "Bus", "Lease", "LogWriter", "Readers", "RedisBus"]
