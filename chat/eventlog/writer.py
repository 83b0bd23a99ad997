"""The log writer: one a process, with its own thread and its own database connection.

Group commit: whatever gathered while the last commit ran is the next batch, so an idle system commits at once and a
busy one amortises. A batch is handed to `published` only after its commit: nothing is shown that is not stored.

With SQLite all writes of the engine go through this thread, the rare ones as jobs. It has one writer at a time anyway,
and a second thread that waits for its lock sleeps in growing steps, which would show as pauses in every stream.

Elsewhere a row may be locked by somebody else, and what waits for it must not hold up the streams. So what users ask
for has threads of its own there (`beside`); only what must follow the appends, or locks many runs, is a job here.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, ParamSpec, TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, connection, connections, transaction

from chat.eventlog.append import BATCH_ROWS, Entry, append
from chat.eventlog.lease import Lease
from chat.eventlog.threads import Threads, keep_connection, mend_connection
from chat.models.outage import cause, is_locked, tell
from chat.protocol.events import Event

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class Pace(NamedTuple):
    """How long a busy writer waits between two commits: company saves more CPU than the wait adds latency.

    It is busy when a batch has `busy_rows`; below, the wait shrinks with the batch, so that a lone stream is committed
    at once.
    """

    interval: float  # seconds
    busy_rows: int


EMBEDDED = Pace(0.015, 24)
# A commit is a round trip to another process, and so is the hint that follows it: company begins to pay sooner.
REMOTE = Pace(0.013, 8)
# Jobs in one transaction, at most.
GROUPED_JOBS = 8
# Beside the writer, where the database can write in several places at once.
THREADS_BESIDE = 4
# The longest pause between two tries: a part of the time in which a stream goes on once the database is back.
MOST_PAUSE = 0.5


class _Job:
    def __init__(self, work: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        self.work = work
        self.future = future


class LogWriter:
    """`append` and `call` belong to the event loop it was started on; `published` and `Lease.lose` run there."""

    def __init__(self, published: Callable[[str, Sequence[Event]], None], *, patience: float) -> None:
        self._published = published
        self._patience = patience
        self._loop: asyncio.AbstractEventLoop | None = None
        self._entries: deque[Entry] = deque()
        self._jobs: deque[_Job] = deque()
        self._wake = threading.Event()
        self._closing = False
        self._last_commit = 0.0
        self._last_rows = 0
        self._one_writer = connection.vendor == "sqlite"
        self._pace = EMBEDDED if self._one_writer else REMOTE
        self._beside = Threads(THREADS_BESIDE, "chat-beside-writer")
        self._thread = threading.Thread(target=self._work, name="chat-log-writer", daemon=True)

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def append(self, lease: Lease, type_: str, data: str) -> None:
        """Queue the run's next event. The caller watches `lease.full`."""
        lease.seq += 1
        lease.unflushed += 1
        self._entries.append((lease, Event(lease.seq, type_, data)))
        if not self._wake.is_set():
            self._wake.set()

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function` in a transaction, after all that was appended before. Raises what it raises.

        Jobs that wait together share the transaction, each in a savepoint: one that fails undoes nothing of the others.
        """
        if self._loop is None or self._closing:
            raise RuntimeError("The log writer is not running.")
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.append(_Job(lambda: function(*args, **kwargs), future))
        self._wake.set()
        return await future

    async def beside(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `call`, but in no order to the appends: where rows can be locked, on a thread that may wait for one."""
        if self._one_writer:
            return await self.call(function, *args, **kwargs)
        if self._closing:
            raise RuntimeError("The log writer is not running.")
        work = self._beside.submit(_in_transaction, lambda: function(*args, **kwargs))
        return await asyncio.shield(asyncio.wrap_future(work))  # a caller that leaves does not undo it

    async def close(self) -> None:
        """Commit what was appended, finish the jobs, end the thread."""
        self._closing = True
        self._wake.set()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._thread.join)
        await loop.run_in_executor(None, self._beside.close)

    # In the thread --------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        keep_connection()
        try:
            while not (self._closing and not self._entries and not self._jobs):
                self._wake.wait()
                self._gather()
                if not self._one_writer:
                    mend_connection()
                self._wake.clear()  # before the queues are read: whoever appends from now on sets it again
                jobs = len(self._jobs)  # before the flush: what was appended before a job is committed before it
                self._flush()
                self._run_jobs(jobs)
                if self._closing:
                    self._wake.set()
        finally:
            connections.close_all()

    def _gather(self) -> None:
        interval = self._pace.interval * min(1.0, (self._last_rows - 1) / self._pace.busy_rows)
        rest = interval - (time.monotonic() - self._last_commit)
        if rest > 0 and not self._jobs and not self._closing:
            time.sleep(rest)

    def _run_jobs(self, jobs: int) -> None:
        # With a flush between any two groups: a burst of prompts must not hold up the streams.
        while jobs:
            group = [self._jobs.popleft() for _ in range(min(jobs, GROUPED_JOBS))]
            jobs -= len(group)
            self._run_group(group)
            if self._entries:
                self._flush()

    def _run_group(self, group: Sequence[_Job]) -> None:
        """Jobs in one transaction, each in a savepoint of its own: what they share of pages is written once."""
        try:
            with transaction.atomic():
                outcomes = [self._try(job, savepoint=len(group) > 1) for job in group]
        except BaseException as error:
            if isinstance(error, DatabaseError | InterfaceError) and not is_locked(error):
                connection.close()
            outcomes = [(_fail, error)] * len(group)
        for job, (settle, outcome) in zip(group, outcomes, strict=True):
            self._on_loop(settle, job.future, outcome)

    def _try(self, job: _Job, *, savepoint: bool) -> tuple[Callable[..., None], Any]:
        if not savepoint:
            return _resolve, job.work()
        try:
            with transaction.atomic():
                return _resolve, job.work()
        except (OperationalError, InterfaceError):
            raise  # the connection may be gone, and with it what the others of the group did
        except Exception as error:
            return _fail, error

    def _flush(self) -> None:
        # Only what is here now: streams that never pause must not hold up the jobs.
        waiting = len(self._entries)
        while waiting:
            batch = [self._entries.popleft() for _ in range(min(waiting, BATCH_ROWS))]
            waiting -= len(batch)
            lost = self._append([entry for entry in batch if not entry[0].broken])
            if lost is None:
                for lease, _ in batch:
                    lease.broken = True
            self._last_commit = time.monotonic()
            self._last_rows = len(batch)
            self._on_loop(self._committed, batch, lost)

    def _append(self, batch: Sequence[Entry]) -> list[Lease] | None:
        """The leases that were lost, or None if the batch could not be stored within the writer's patience."""
        if not batch:
            return []
        give_up = time.monotonic() + self._patience
        pause = 0.02
        while True:
            try:
                return append(batch)
            except (DatabaseError, InterfaceError) as error:
                if not is_locked(error):
                    connection.close()
                if time.monotonic() + pause > give_up:
                    log.error("%d events could not be stored: %s", len(batch), cause(error))
                    return None
                tell(log, "the log cannot be written, it is tried again", error)
            except Exception:
                # A batch that can never be stored must not end the thread, on which every run depends.
                log.exception("%d events could not be stored", len(batch))
                return None
            time.sleep(pause)
            pause = min(pause * 2, MOST_PAUSE)

    def _on_loop(self, function: Callable[..., None], *args: Any) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:  # the loop is closed: nobody is left to be told, and the log has it
            log.debug("The event loop ended before the log writer.")

    # Back on the loop -----------------------------------------------------------------------------------------------

    def _committed(self, batch: Sequence[Entry], lost: list[Lease] | None) -> None:
        runs: dict[Lease, list[Event]] = {}
        for lease, event in batch:
            runs.setdefault(lease, []).append(event)
        for lease, events in runs.items():
            lease.flushed(len(events))
        for lease, events in runs.items():
            if lease.broken:
                lease.lose("storage")
            elif lost and lease in lost:
                lease.lose("fenced")
            elif lease.loss is None:
                lease.stored = events[-1].seq
                self._published(lease.key, events)


def _in_transaction(work: Callable[[], T]) -> T:
    try:
        with transaction.atomic():
            return work()
    except (OperationalError, InterfaceError) as error:
        if not is_locked(error):
            connection.close()
        raise


def _resolve(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
