"""Who executes a run: the claim, its renewal, and what happens to runs whose holder died. Database time throughout."""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db.models import Count, F, Q, QuerySet
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now

from chat.eventlog import log
from chat.models import Run
from chat.runs import fair
from chat.runs.finish import Ending, Failure, end_orphan

Status = Run.Status

# Of the waiting runs, the oldest so many are looked at in one turn.
LOOKED_AT = 1000

LOST = Failure(
    "worker_lost",
    "The server that wrote this answer stopped, and so did the one that took it over. Ask for a new answer.",
    retryable=True,
)


class Claim(NamedTuple):
    """All that executing a run needs to know. `top` is the last seq already in its log."""

    run: UUID
    log_id: int
    session: UUID
    message: UUID
    requester: str
    model: str
    options: dict[str, Any]
    attempt: int
    epoch: int
    top: int
    system: str  # the chat session's own system prompt
    reason: str = ""  # of a further attempt: worker_lost or handed_over
    opening: str = ""  # the prompt, if it opens the chat session: then there is nothing else to tell the model


def lease_end() -> CombinedExpression:
    return Now() + timedelta(seconds=settings.CHAT_LEASE_SECONDS)


def claim_of(run: Run, top: int, *, reason: str = "", opening: str = "") -> Claim:
    return Claim(
        run=run.id,
        log_id=run.log_id,
        session=run.session_id,
        message=run.message_id,
        requester=run.requester,
        model=run.model,
        options=run.options,
        attempt=run.attempt,
        epoch=run.epoch,
        top=top,
        system=run.session.system_prompt,
        reason=reason,
        opening=opening,
    )


def any_waiting() -> bool:
    """A read, so that an idle system takes no write lock every second."""
    return _waiting().exists()


def any_stopped() -> bool:
    return _waiting().filter(stop_requested=True).exists()


def waits(run: UUID) -> bool:
    """Whether nobody executes the run: it is queued, or its worker died."""
    return _waiting().filter(id=run).exists()


def _waiting() -> QuerySet[Run]:
    expired = Q(status=Status.RUNNING, lease_until__lt=Now())
    return Run.objects.filter(Q(status=Status.QUEUED) | expired, ended=None)


def claim_waiting(worker: str, room: int, reserved: int = 0) -> tuple[list[Claim], list[Ending]]:
    """Claim queued runs and those whose lease ran out, fairly across requesters (see fair.py).

    The second list: runs that were ended instead of tried again.
    """
    to_execute: list[Run] = []
    endings: list[Ending] = []
    picked = _next(room, reserved)
    runs = _locked(picked)
    if len(runs) < len(picked):  # another worker was quicker with some
        runs += _locked(_next(room - len(runs), reserved, without=picked))
    for run in runs:
        if run.stop_requested:
            ending = end_orphan(run, Status.STOPPED)
        elif run.status == Status.RUNNING and run.attempt - run.handovers >= settings.CHAT_MAX_ATTEMPTS:
            ending = end_orphan(run, Status.FAILED, LOST)
        else:
            to_execute.append(run)
            continue
        if ending is not None:
            endings.append(ending)
    return _claim(to_execute, worker), endings


def _next(room: int, reserved: int, without: Sequence[UUID] = ()) -> list[UUID]:
    rows = _waiting().exclude(id__in=without).order_by("created")
    found = list(rows.values_list("id", "requester", "stop_requested")[:LOOKED_AT])
    stopped = [run for run, _, stop in found if stop]  # they are only to be ended, which takes no place
    waiting = [(run, requester) for run, requester, stop in found if not stop]
    if room <= 0 or not waiting:
        return stopped
    # Not those whose lease ran out: they wait themselves.
    alive = Run.objects.filter(ended=None, status=Status.RUNNING, lease_until__gte=Now())
    mine = alive.filter(requester__in={requester for _, requester in waiting})
    running = dict(mine.values_list("requester").annotate(Count("id")))
    return stopped + fair.pick(waiting, running, room, reserved)


def _locked(picked: Sequence[UUID]) -> list[Run]:
    """Oldest first, but for those that another worker is claiming at this moment: none is waited for."""
    rows = _waiting().select_for_update(skip_locked=True, of=("self",)).select_related("session", "message__parent")
    return sorted(rows.filter(id__in=picked), key=lambda run: run.created)


def _claim(runs: Sequence[Run], worker: str) -> list[Claim]:
    """All in one statement. They are locked (on SQLite the whole database is), so nobody else can have got there."""
    if not runs:
        return []
    Run.objects.filter(id__in=[run.id for run in runs]).update(
        status=Status.RUNNING,
        epoch=F("epoch") + 1,
        attempt=F("attempt") + 1,
        lease_owner=worker,
        lease_until=lease_end(),
        started=Now(),
    )
    tops = log.tops(run.id for run in runs if run.epoch)  # what was never claimed has no log
    return [_claimed(run, tops.get(run.id) or 0) for run in runs]


def _claimed(run: Run, top: int) -> Claim:
    run.epoch += 1
    run.attempt += 1
    reason = "worker_lost" if run.status == Status.RUNNING else "handed_over"
    prompt = run.message.parent
    opening = prompt.text if prompt is not None and prompt.parent_id is None else ""
    return claim_of(run, top, reason=reason, opening=opening)


def renew(worker: str, held: Mapping[UUID, int]) -> tuple[set[UUID], set[UUID]]:
    """Extend this worker's leases. Among `held` (id → epoch): the runs to be stopped, and those it has lost."""
    mine = Run.objects.filter(id__in=held, status=Status.RUNNING, lease_owner=worker)
    mine.update(lease_until=lease_end())
    found = {run: stop for run, epoch, stop in mine.values_list("id", "epoch", "stop_requested") if held[run] == epoch}
    return {run for run, stop in found.items() if stop}, set(held) - set(found)


def release(worker: str, held: Collection[UUID] = ()) -> int:
    """Give runs back unfinished, for the next process to go on with: a shutdown is not a crash. Returns how many.

    By the worker's name without what it executes, `held`: a claim may have been written just before the shutdown, or
    before the connection was lost that should have told of it.
    """
    mine = Run.objects.filter(ended=None, status=Status.RUNNING, lease_owner=worker).exclude(id__in=held)
    return mine.update(status=Status.QUEUED, lease_owner="", lease_until=None, handovers=F("handovers") + 1)
