from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

from ninja import Field, Query, Router, Schema

from chat.api.request import ApiRequest
from chat.protocol.errors import ChatError
from chat.runs import usage

router = Router(tags=["usage"])

MOST_DAYS = 366
DEFAULT_DAYS = 30


class Day(Schema):
    day: date
    model: str
    runs: int
    input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    estimated_runs: int = Field(description="Of the runs, those whose tokens the server had to estimate.")


class UsageReport(Schema):
    first: date
    last: date
    days: list[Day] = Field(description="One for each day and model, newest day first; days of UTC.")


@router.get("", response=UsageReport, summary="The caller's own, by day and model")
async def read_usage(
    request: ApiRequest,
    first: Annotated[date | None, Query(description=f"Left out: {DEFAULT_DAYS} days in all.")] = None,
    last: Annotated[date | None, Query(description="Left out: today.")] = None,
) -> dict[str, Any]:
    last = last or datetime.now(UTC).date()
    first = first or date.fromordinal(max(1, last.toordinal() - DEFAULT_DAYS + 1))
    if not timedelta(0) <= last - first < timedelta(days=MOST_DAYS):
        raise ChatError("bad_frame", f"`first` to `last` are 1 to {MOST_DAYS} days.", field="first")
    days = await request.desk.engine.read(usage.by_day, request.auth.owner, first, last)
    return {"first": first, "last": last, "days": days}
