"""Search that is bounded: by an index, or to the newest rows of what the filters leave."""

from typing import Any, TypeVar
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db.models import Model, QuerySet

M = TypeVar("M", bound=Model)


def as_id(term: str) -> UUID | None:
    try:
        return UUID(term)
    except ValueError:
        return None


def user_ids(name: str) -> list[Any]:
    """The user of exactly this name: an index lookup, where a part of a name would scan the table."""
    users = get_user_model()
    return list(users._default_manager.filter(**{users.USERNAME_FIELD: name}).values_list("pk", flat=True))


def newest(queryset: QuerySet[M], by: str, most: int) -> QuerySet[M]:
    """The part of the queryset that is among its `most` newest, by an indexed date."""
    edge = queryset.order_by(f"-{by}").values_list(by, flat=True)[most : most + 1].first()
    return queryset if edge is None else queryset.filter(**{f"{by}__gt": edge})
