"""What an owner's runs have used, by day and model."""

from datetime import UTC, date, datetime, time
from typing import NamedTuple

from django.db.models import Count, Q, Sum
from django.db.models.functions import Coalesce, TruncDate

from chat.models import Run
from chat.runs.owner import Owner


class Used(NamedTuple):
    """Tokens as the upstream counted them, or in `estimated_runs` of the runs as the server did."""

    day: date
    model: str
    runs: int
    input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    estimated_runs: int


def by_day(owner: Owner, first: date, last: date) -> list[Used]:
    """Newest day first, both ends included; days are those of UTC, and runs count on the day they began.

    One query over an index of the owner's runs. Runs of deleted chat sessions are gone, and their usage with them.
    """
    begin, end = (datetime.combine(day, at, UTC) for day, at in ((first, time.min), (last, time.max)))
    runs = Run.objects.filter(requester=owner.requester, created__range=(begin, end)).order_by()
    days = runs.annotate(day=TruncDate("created", tzinfo=UTC)).values("day", "model")
    sums = {f"{kind}_sum": Coalesce(Sum(f"{kind}_tokens"), 0) for kind in ("input", "output", "reasoning")}
    counted = days.annotate(runs=Count("id"), **sums, guesses=Count("id", filter=Q(usage_estimated=True)))
    rows = counted.order_by("-day", "model").values_list("day", "model", "runs", *sums, "guesses")
    return [Used(*row) for row in rows]
