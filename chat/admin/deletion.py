"""What a deletion takes with it, as counts.

Django's own confirmation loads and lists every row it would delete, and asks the admin of each for permission, which
runs and messages never give.
"""

from collections.abc import Iterable
from typing import Any

from django.db.models import QuerySet

from chat.models import ChatSession, Message, Run

Summary = tuple[list[Any], dict[str, int], set[str], list[str]]


def summary(objects: Iterable[Any], sessions: QuerySet[ChatSession]) -> Summary:
    """In the shape of ModelAdmin.get_deleted_objects."""
    counts = {
        "chat sessions": sessions.count(),
        "messages": Message.objects.filter(session__in=sessions).count(),
        "runs, with their events": Run.objects.filter(session__in=sessions).count(),
    }
    return [str(obj) for obj in objects], counts, set(), []
