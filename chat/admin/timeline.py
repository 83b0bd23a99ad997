"""One page of a run's event log, read by (run, seq)."""

from typing import NamedTuple
from uuid import UUID

from django.db.models.functions import Length, Substr

from chat.eventlog import log
from chat.models import RunEvent

PAGE = 200
DATA_CHARS = 300


class Entry(NamedTuple):
    seq: int
    type: str
    data: str
    cut: int


class Timeline(NamedTuple):
    entries: list[Entry]
    first: int
    last: int
    previous: int | None
    next: int | None
    end: int | None


def timeline(run: UUID, after: int, with_data: bool) -> Timeline:
    first, last = log.span(run)
    rows = RunEvent.objects.filter(run__id=run, seq__gt=after).order_by("seq")
    values = rows.values_list("seq", "type", Substr("data", 1, DATA_CHARS), Length("data"))[:PAGE]
    entries = [
        Entry(seq, type_, data if with_data else "", max(0, size - DATA_CHARS)) for seq, type_, data, size in values
    ]
    shown = entries[-1].seq if entries else last
    more = shown < last
    return Timeline(
        entries,
        first,
        last,
        max(0, after - PAGE) if after >= first else None,
        shown if more else None,
        max(0, last - PAGE) if more else None,
    )


def position(value: str | None) -> int:
    """The `after` of a request; what is no sequence number means from the start."""
    return int(value) if value and value.isascii() and value.isdigit() and len(value) <= 9 else 0
