"""Reading a run's log. SQL is the truth; these are plain queries for any thread with a connection."""

from collections.abc import Iterable
from uuid import UUID

from django.db.models import Max, Min, OuterRef, Subquery

from chat.models import Run, RunEvent
from chat.protocol.events import Event

PAGE = 500


def read(run: UUID, after: int, most: int = PAGE) -> list[Event]:
    """The events after seq `after`, in order, at most `most`."""
    rows = RunEvent.objects.filter(run__id=run, seq__gt=after).order_by("seq")
    return [Event(*row) for row in rows.values_list("seq", "type", "data")[:most]]


def read_all(run: UUID) -> list[Event]:
    rows = RunEvent.objects.filter(run__id=run).order_by("seq")
    return [Event(*row) for row in rows.values_list("seq", "type", "data")]


def span(run: UUID) -> tuple[int, int]:
    """First and last seq of what the log holds; (0, 0) if it holds nothing."""
    found = RunEvent.objects.filter(run__id=run).aggregate(first=Min("seq"), last=Max("seq"))
    return found["first"] or 0, found["last"] or 0


def tops(runs: Iterable[UUID]) -> dict[UUID, int | None]:
    """The last seq of each; 0: its log is empty; None: there is no such run."""
    found: dict[UUID, int | None] = dict.fromkeys(runs)
    # A look at the end of each log. Max over a join reads the logs: 550 ms for 1,000 runs of 100 events, not 90.
    newest = RunEvent.objects.filter(run=OuterRef("log_id")).order_by("-seq").values("seq")[:1]
    rows = Run.objects.filter(id__in=found).annotate(top=Subquery(newest))
    found.update((run, top or 0) for run, top in rows.values_list("id", "top"))
    return found
