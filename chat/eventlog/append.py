"""One statement that appends a batch of events, each fenced by its run's epoch."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
from django.db import connection

from chat.eventlog.lease import Lease
from chat.models import Run, RunEvent
from chat.protocol.events import Event

Entry = tuple[Lease, Event]

BATCH_ROWS = 500


def append(entries: Sequence[Entry]) -> list[Lease]:
    """Commit the entries of every lease that still holds its run; return the leases that don't.

    Repeatable: a batch whose commit succeeded but was not acknowledged may be given again. Not inside a transaction:
    the one statement is its own, which saves two round trips (and on SQLite 0.2 ms of CPU).
    """
    inserted = _insert_sqlite(entries) if connection.vendor == "sqlite" else _insert(entries)
    # Fewer rows than entries: somebody else holds a run, or this is a repeat. Rare, so found out afterwards; a run that
    # is lost only then counts as lost as well, and its followers read these events from the log.
    return [] if inserted == len(entries) else _lost(entries)


def _insert_sqlite(entries: Sequence[Entry]) -> int:
    params: list[Any] = []
    for lease, event in entries:
        params += (lease.log_id, event.seq, event.type, event.data, lease.epoch)
    connection.ensure_connection()
    # The driver itself: Django's cursor would rewrite every placeholder of a long statement at each call.
    with connection.wrap_database_errors:
        return int(connection.connection.execute(_sqlite(len(entries)), params).rowcount)


def _insert(entries: Sequence[Entry]) -> int:
    rows = [_Row(lease.log_id, event.seq, event.type, event.data, lease.epoch) for lease, event in entries]
    with connection.cursor() as cursor:
        # One parameter for all rows: quoting five for each costs the client three times as much, and parsing them the
        # server half as much again.
        cursor.execute(_POSTGRES, [_encode(rows).decode()])
        return int(cursor.rowcount)


class _Row(msgspec.Struct, frozen=True, gc=False):
    run_id: int
    seq: int
    type: str
    data: str
    epoch: int


_encode = msgspec.json.Encoder().encode

_INTO = f"INSERT INTO {RunEvent._meta.db_table} (run_id, seq, type, data) "
# FOR SHARE: a claim by another process has to wait for this commit, or this one sees the claim.
_POSTGRES = (
    f"{_INTO} SELECT v.run_id, v.seq, v.type, v.data "
    "FROM json_to_recordset(%s::json) AS v(run_id bigint, seq int, type text, data text, epoch int) "
    f"JOIN {Run._meta.db_table} r ON r.log_id = v.run_id AND r.epoch = v.epoch AND r.status = 'running' "
    "WHERE true FOR SHARE OF r ON CONFLICT DO NOTHING"
)


@lru_cache(maxsize=BATCH_ROWS * 2)
def _sqlite(rows: int) -> str:
    values = ",".join(["(?,?,?,?,?)"] * rows)
    # One statement, not executemany: the driver gives up the GIL at every row, and takes it back only after the loop's
    # thread lets it go.
    return (
        f"{_INTO} SELECT v.column1, v.column2, v.column3, v.column4 FROM (VALUES {values}) AS v "
        f"JOIN {Run._meta.db_table} r ON r.log_id = v.column1 AND r.epoch = v.column5 AND r.status = 'running' "
        "WHERE true ON CONFLICT DO NOTHING"
    )


def _lost(entries: Sequence[Entry]) -> list[Lease]:
    # By lease, not by run: a process that took over its own run has two of one run, and the older one is lost.
    leases = {lease for lease, _ in entries}
    running = Run.objects.filter(id__in={lease.run for lease in leases}, status=Run.Status.RUNNING)
    epochs = dict(running.values_list("id", "epoch"))
    return [lease for lease in leases if epochs.get(lease.run) != lease.epoch]
