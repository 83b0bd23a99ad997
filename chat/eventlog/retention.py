"""Folds the logs of runs that ended some time ago: their message holds what the events add up to, so these may go.

The terminal event stays. It says how the run ended and how long its log was; whoever follows from before it gets a
snapshot, made from the message, and then this event.

A run is looked at first, without a lock: its log is replayed and compared with its message. What an ended run's log
holds changes no more, so its events are then deleted in a short transaction of its own. If the two differ, the log is
what was shown: the run keeps it, and is not looked at again.
"""

import asyncio
import hashlib
import logging
import random
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

import msgspec
from django.db import DatabaseError, InterfaceError, connection, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from chat.eventlog import log
from chat.eventlog.readers import Readers
from chat.eventlog.writer import LogWriter
from chat.models import Message, Run, RunEvent
from chat.models.prepared import Select, slot
from chat.protocol.answer import Answer, text_of
from chat.protocol.events import TERMINAL, Event, Part, decode_ended

logger = logging.getLogger(__name__)

# A batch ends with the run that brings it to so many events; a longer log goes in pieces of as many. Less than twice of
# it goes in one transaction, for which on SQLite every stream waits.
BATCH_EVENTS = 500
BATCH_RUNS = 50
TURN_SECONDS = 60.0
PAUSE_SECONDS = 0.05
# Less than Postgres' deadlock_timeout: who deletes the same chat session at this moment never loses to us.
LOCK_TIMEOUT = "100ms"

# Compiled once: as the ORM's own they took more CPU than all the rest of a look.
_EVENTS = ("seq", "type", "data")
_PAGE = Select(
    lambda: (
        RunEvent.objects.filter(run__log_id=slot(Run, "log_id"), seq__gt=slot(RunEvent, "seq"))
        .order_by("seq")
        .values_list(*_EVENTS)[: log.PAGE]
    )
)
_LAST = Select(
    lambda: RunEvent.objects.filter(run__log_id=slot(Run, "log_id")).order_by("-seq").values_list(*_EVENTS)[:1]
)
_MESSAGE = Select(lambda: Message.objects.filter(run__id=slot(Run, "id")).values_list("parts", "text"))


class Look(NamedTuple):
    """What was found of one run: its `events` before the terminal one may go if its message `agrees` with them."""

    run: UUID
    first: int
    events: int
    agrees: bool


class Batch(NamedTuple):
    """What one transaction folds. `upto`: the log of its only run is longer than that, this is as far as it goes."""

    looks: list[Look]
    upto: int | None = None


class Folded(NamedTuple):
    """Runs that were folded, runs that keep their events, events deleted; runs `missed`: somebody else has them."""

    runs: int
    kept: int
    events: int
    missed: int


# Looking --------------------------------------------------------------------------------------------------------------


def due(hours: float) -> QuerySet[Run]:
    """Ended so long ago and not looked at yet, oldest first: the beginning of an index that holds no others."""
    return Run.objects.filter(folded=None, ended__lt=Now() - timedelta(hours=hours)).order_by("ended")


def next_batch(hours: float) -> Batch | None:
    """The oldest, as many as one transaction takes; None: there is nothing to do."""
    looks: list[Look] = []
    events = 0
    for run, log_id in due(hours).values_list("id", "log_id")[:BATCH_RUNS]:
        found = look(run, log_id)
        if found.agrees and found.events > BATCH_EVENTS:
            # Goes in pieces, by itself.
            return Batch(looks) if looks else Batch([found], upto=found.first + BATCH_EVENTS - 1)
        looks.append(found)
        events += found.events
        if events >= BATCH_EVENTS:
            break
    return Batch(looks) if looks else None


def look(run: UUID, log_id: int) -> Look:
    """Read the log and compare it with the message."""
    try:
        return _look(run, log_id)
    except (LookupError, TypeError, ValueError, msgspec.MsgspecError):
        # Nothing that the engine wrote, or it is being deleted: it must not be in the way of all the others.
        return Look(run, 0, 0, agrees=False)


def _look(run: UUID, log_id: int) -> Look:
    page = _page(log_id, 0)
    if not page:
        return Look(run, 0, 0, agrees=True)  # nothing to lose
    first = page[0].seq
    [(parts, text)] = _MESSAGE.rows(id=run)
    if first == 1:
        last, added_up = _replayed(log_id, page)
        agrees = added_up == parts
    else:
        # It was begun to be folded, so it agreed then.
        [last] = [Event(*row) for row in _LAST.rows(log_id=log_id)]
        agrees = True
    return Look(run, first, last.seq - first, agrees and text_of(parts) == text and _ends_with(last, text))


def _replayed(log_id: int, page: list[Event]) -> tuple[Event, list[Part]]:
    """The last event, and the parts that all add up to. By pages: a log may be long."""
    answer = Answer()
    count = 0
    last = page[-1]
    while page:
        last = page[-1]
        count += len(page)
        answer.apply(page)
        page = _page(log_id, last.seq) if len(page) == log.PAGE else []
    if count != last.seq:
        raise LookupError("an event is missing")
    return last, answer.parts


def _ends_with(last: Event, text: str) -> bool:
    return last.type in TERMINAL and decode_ended(last.data).text_sha256 == hashlib.sha256(text.encode()).hexdigest()


def _page(log_id: int, after: int) -> list[Event]:
    return [Event(*row) for row in _PAGE.rows(log_id=log_id, seq=after)]


# Folding --------------------------------------------------------------------------------------------------------------


def fold(batch: Batch) -> Folded:
    """Delete the events and mark the runs, in one transaction; runs that another process has hold of are left to it.

    On Postgres it waits for no lock longer than LOCK_TIMEOUT, and raises OperationalError.
    """
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        unmarked = Run.objects.select_for_update(skip_locked=True).filter(folded=None)
        mine = dict(unmarked.filter(id__in=[each.run for each in batch.looks]).values_list("id", "log_id"))
        agreeing = [mine[each.run] for each in batch.looks if each.agrees and each.run in mine]
        # Once more, now that nobody else can: one of two that fold a long log at once may have seen it half gone.
        doubted = [each.run for each in batch.looks if not each.agrees and each.run in mine]
        differing = [run for run in doubted if not look(run, mine[run]).agrees]
        deleted = _delete(agreeing, batch.upto)
        if batch.upto is None:
            Run.objects.filter(log_id__in=agreeing).update(folded=True)
            Run.objects.filter(id__in=differing).update(folded=False)
    for run in differing:
        logger.warning("run %s keeps its events: they do not add up to its message", run)
    whole = 0 if batch.upto else len(agreeing)
    return Folded(whole, len(differing), deleted, len(batch.looks) - len(mine))


def _delete(log_ids: list[int], upto: int | None) -> int:
    events = RunEvent.objects.filter(run__log_id__in=log_ids).exclude(type__in=TERMINAL)
    if upto is not None:
        events = events.filter(seq__lte=upto)
    return events.delete()[0]


# In the background ----------------------------------------------------------------------------------------------------


async def fold_for_ever(readers: Readers, writer: LogWriter, hours: float) -> None:
    while True:
        # Not all processes at one moment, though they were started together.
        await asyncio.sleep(TURN_SECONDS * random.uniform(0.5, 1.5))
        try:
            await turn(readers, writer, hours)
        except (DatabaseError, InterfaceError) as error:
            logger.warning("logs could not be folded, the next turn tries again: %s", error)
        except Exception:
            logger.exception("logs could not be folded")


async def turn(readers: Readers, writer: LogWriter, hours: float) -> None:
    """Fold what is due, slowly: whoever streams must not feel it."""
    while batch := await readers.call(next_batch, hours):
        # SQLite has one writer. Elsewhere the log writer's thread has better things to do.
        call = writer.call if connection.vendor == "sqlite" else readers.call
        folded = await call(fold, batch)
        if folded.missed:
            return  # another process is at it
        await asyncio.sleep(PAUSE_SECONDS)
