"""The statements of a run's start and end. Compiled once: as the ORM's own they took 4 ms of CPU a run, now one."""

from typing import Any

from django.db.models import DurationField, QuerySet, Value
from django.db.models.functions import Now

from chat.models import ChatSession, Message, Run, RunEvent
from chat.models.prepared import Insert, Select, Slot, Update, slot

RUNS_OF_KEY = Select(
    lambda: Run.objects.filter(
        requester=slot(Run, "requester"), idempotency_key=slot(Run, "idempotency_key")
    ).values_list("created", "fingerprint", "session_id", "message__parent_id", "message_id", "id")
)
# A row (True,) for each unended run, and a row (False,) for each run since `created`. A union, not an OR: for that
# SQLite would look at every run that this requester ever had.
MY_RUNS = Select(lambda: _marked(True, ended=None).union(_marked(False, created__gt=slot(Run, "created")), all=True))


def _marked(unended: bool, **where: Any) -> "QuerySet[Run, Any]":
    runs = Run.objects.filter(requester=slot(Run, "requester"), **where)
    return runs.annotate(unended=Value(unended)).values_list("unended")


NEW_SESSION = Insert(ChatSession)
NEW_MESSAGE, NEW_MESSAGES = Insert(Message), Insert(Message, rows=2)
NEW_RUN = Insert(Run)
# Its lease ends by the database's clock, like every lease.
NEW_CLAIMED_RUN = Insert(Run, lambda: {"started": Now(), "lease_until": Now() + Slot("lease", DurationField())})
NEW_EVENT = Insert(RunEvent)

ENDED_COLUMNS = (
    "status",
    "finish_reason",
    "input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "usage_estimated",
    "first_token_ms",
    "total_ms",
    "request_id",
    "retries",
    "error_code",
    "error_message",
    "error_retryable",
    "error_status",
    "error_detail",
)
END_RUN = Update(
    lambda: Run.objects.filter(id=slot(Run, "id"), epoch=slot(Run, "epoch"), status=Run.Status.RUNNING),
    lambda: {name: slot(Run, name) for name in ENDED_COLUMNS} | {"ended": Now(), "lease_until": None},
)
END_MESSAGE = Update(
    lambda: Message.objects.filter(id=slot(Message, "id")),
    lambda: {name: slot(Message, name) for name in ("parts", "text", "status")},
)
