"""How a run ends: final text, status, usage and the terminal event in one transaction, at most once."""

import hashlib
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import F
from django.db.models.functions import Now

from chat.eventlog import Lease, log
from chat.models import Message, Run, RunEvent
from chat.protocol.answer import Answer, text_of
from chat.protocol.events import Event, Part, RunEnded, RunError, Timing, UsageReport, encode_data
from chat.runs import statements
from chat.runs.tokens import estimate_tokens

Status = Run.Status

_EVENT_OF = {Status.COMPLETED: "run.completed", Status.STOPPED: "run.stopped", Status.FAILED: "run.failed"}
_MESSAGE_OF = {
    Status.COMPLETED: Message.Status.DONE,
    Status.STOPPED: Message.Status.STOPPED,
    Status.FAILED: Message.Status.FAILED,
}


class Failure(NamedTuple):
    """Why a run failed. `detail` is for operators only."""

    code: str
    message: str
    retryable: bool
    status: int | None = None
    request_id: str = ""
    detail: str = ""


NO_FAILURE = Failure(code="", message="", retryable=False)


class Outcome(NamedTuple):
    """How an attempt went, as its executing task knows it."""

    status: Run.Status
    parts: list[Part]
    seq: int | None  # of the last event in its log; None: look it up, some could not be stored
    usage: UsageReport
    timing: Timing
    finish_reason: str = ""
    failure: Failure | None = None
    request_id: str = ""
    retries: int = 0


class Ending(NamedTuple):
    """A run that ended, with its terminal event to publish."""

    run: UUID
    event: Event


def end(lease: Lease, message: UUID, outcome: Outcome) -> Ending | None:
    """End the run if nobody else did and the lease's epoch is still its newest; None: it was too late."""
    ended = statements.END_RUN.run(id=lease.run, epoch=lease.epoch, **_columns(outcome))
    return _write(lease.run, lease.log_id, message, outcome) if ended else None


def end_orphan(run: Run, status: Run.Status, failure: Failure | None = None) -> Ending | None:
    """End a run that nobody executes, with what its log holds."""
    answer = Answer().apply(log.read_all(run.id))
    usage = UsageReport(input_tokens=run.input_tokens or 0, output_tokens=estimate_tokens(answer.text), estimated=True)
    timing = Timing(first_token_ms=run.first_token_ms, total_ms=0)
    outcome = Outcome(status, answer.parts, answer.seq, usage, timing, failure=failure)
    orphan = Run.objects.filter(id=run.id, epoch=run.epoch, status=run.status)
    if not orphan.update(epoch=F("epoch") + 1, ended=Now(), lease_until=None, **_columns(outcome)):
        return None
    return _write(run.id, run.log_id, run.message_id, outcome)


def _write(run: UUID, log_id: int, message: UUID, outcome: Outcome) -> Ending:
    parts, seq = outcome.parts, outcome.seq
    if seq is None:
        # Some events could not be stored: the log, not our memory, is what was shown.
        answer = Answer().apply(log.read_all(run))
        parts, seq = answer.parts, answer.seq
    text = text_of(parts)
    event = Event(seq + 1, _EVENT_OF[outcome.status], encode_data(_ended(str(message), text, outcome)))
    statements.NEW_EVENT.run(RunEvent(run_id=log_id, seq=event.seq, type=event.type, data=event.data))
    statements.END_MESSAGE.run(id=message, parts=parts, text=text, status=_MESSAGE_OF[outcome.status])
    return Ending(run, event)


def _ended(message: str, text: str, outcome: Outcome) -> RunEnded:
    failure = outcome.failure
    return RunEnded(
        message=message,
        usage=outcome.usage,
        timing=outcome.timing,
        text_length=len(text),
        text_sha256=hashlib.sha256(text.encode()).hexdigest(),
        finish_reason=outcome.finish_reason or None,  # type: ignore[arg-type]
        error=failure
        and RunError(
            code=failure.code,
            message=failure.message,
            retryable=failure.retryable,
            status=failure.status,
            request_id=failure.request_id or None,
        ),
    )


def _columns(outcome: Outcome) -> dict[str, Any]:
    failure = outcome.failure or NO_FAILURE
    return {
        "status": outcome.status,
        "finish_reason": outcome.finish_reason,
        "input_tokens": outcome.usage.input_tokens,
        "output_tokens": outcome.usage.output_tokens,
        "reasoning_tokens": outcome.usage.reasoning_tokens,
        "usage_estimated": outcome.usage.estimated,
        "first_token_ms": outcome.timing.first_token_ms,
        "total_ms": outcome.timing.total_ms,
        "request_id": outcome.request_id[:200],
        "retries": outcome.retries,
        "error_code": failure.code,
        "error_message": failure.message[:500],
        "error_retryable": failure.retryable,
        "error_status": failure.status,
        "error_detail": failure.detail,
    }
