"""Date drill-down from the first and last row alone.

Django's own asks for SELECT DISTINCT date_trunc(…) of all filtered rows: on SQLite a Python call for each of them. Here
the two ends are read through the index and every period between them is offered, whether it has rows or not.
"""

import calendar
from datetime import date, datetime
from typing import Any, NamedTuple

from django.contrib.admin.views.main import ChangeList
from django.utils import formats, timezone


class Choice(NamedTuple):
    title: str
    link: str = ""


class Drilldown(NamedTuple):
    back: Choice | None
    choices: list[Choice]


def drilldown(changes: ChangeList, field: str) -> Drilldown | None:
    ends = _ends(changes, field)
    if ends is None:
        return None
    first, last = ends
    year, month, day = (_number(changes, f"{field}__{unit}") for unit in ("year", "month", "day"))

    def link(**units: int | None) -> str:
        chosen: dict[str, Any] = {f"{field}__{unit}": number for unit, number in units.items() if number}
        return changes.get_query_string(chosen, [f"{field}__"])

    if year is None:
        years = range(first.year, last.year + 1)
        return Drilldown(None, [Choice(str(number), link(year=number)) for number in years])
    if month is None:
        months = [date(year, number, 1) for number in range(1, 13)]
        shown = [day for day in months if first.replace(day=1) <= day <= last]
        titles = [(formats.date_format(day, "YEAR_MONTH_FORMAT"), day.month) for day in shown]
        return Drilldown(
            Choice("All dates", link()), [Choice(title, link(year=year, month=at)) for title, at in titles]
        )
    if day is None:
        days = [date(year, month, number) for number in range(1, calendar.monthrange(year, month)[1] + 1)]
        choices = [Choice(_day(at), link(year=year, month=month, day=at.day)) for at in days if first <= at <= last]
        return Drilldown(Choice(str(year), link(year=year)), choices)
    at = date(year, month, day)
    back = Choice(formats.date_format(at, "YEAR_MONTH_FORMAT"), link(year=year, month=month))
    return Drilldown(back, [Choice(_day(at))])


def _ends(changes: ChangeList, field: str) -> tuple[date, date] | None:
    times = changes.root_queryset.values_list(field, flat=True)
    # Two queries: SQLite answers MIN and MAX through an index only when asked for one of them.
    first, last = times.order_by(field)[:1].first(), times.order_by(f"-{field}")[:1].first()
    return (_local(first), _local(last)) if first and last else None


def _local(at: datetime) -> date:
    return timezone.localtime(at).date()


def _day(at: date) -> str:
    return formats.date_format(at, "MONTH_DAY_FORMAT")


def _number(changes: ChangeList, name: str) -> int | None:
    # The change list has refused what is no date before this runs.
    value = changes.params.get(name)
    return int(value) if value else None
