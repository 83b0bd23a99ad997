"""Pages of a list, newest first. A cursor names the last row of the page before: rows that come or go shift nothing."""

from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet

from chat.protocol.errors import ChatError

M = TypeVar("M", bound=Model)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def page(rows: QuerySet[M], by: str, cursor: str | None, most: int) -> tuple[list[M], str | None]:
    """At most `most` of `rows` by their column `by`, a time, and the cursor of the next page (None: there is none).

    One query. Raises ChatError: bad_frame.
    """
    if cursor is not None:
        at, id_ = _read(cursor)
        # Not as "older, or as old with a smaller id": of an OR SQLite makes no range of an index.
        rows = rows.filter(**{f"{by}__lte": at}).exclude(**{by: at, "pk__gte": id_})
    found = list(rows.order_by(f"-{by}", "-pk")[: most + 1])
    return found[:most], _cursor(found[most - 1], by) if len(found) > most else None


def _cursor(row: Any, by: str) -> str:
    microseconds = (getattr(row, by) - _EPOCH) // timedelta(microseconds=1)
    return f"{microseconds:x}-{row.pk.hex}"


def _read(cursor: str) -> tuple[datetime, UUID]:
    at, _, id_ = cursor.partition("-")
    try:
        return _EPOCH + timedelta(microseconds=int(at, 16)), UUID(id_)
    except (ValueError, OverflowError):
        raise ChatError("bad_frame", "This is no cursor of a page. Take one from `next`.", field="cursor") from None
