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
from chat.protocol.answer import Answer, text_of
from chat.protocol.events import TERMINAL, Part, decode_ended

logger = logging.getLogger(__name__)

# One transaction deletes at most so much: on SQLite every stream waits for it.
BATCH_EVENTS = 500
BATCH_RUNS = 50
TURN_SECONDS = 60.0
PAUSE_SECONDS = 0.05
# Less than Postgres' deadlock_timeout: who deletes the same chat session at this moment never loses to us.
LOCK_TIMEOUT = "100ms"


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
    for run in due(hours).values_list("id", flat=True)[:BATCH_RUNS]:
        first, top = log.span(run)
        events += top - first
        if looks and events > BATCH_EVENTS:
            break
        looks.append(look(run, first, top))
    if len(looks) == 1 and looks[0].agrees and looks[0].events > BATCH_EVENTS:
        return Batch(looks, upto=looks[0].first + BATCH_EVENTS - 1)
    return Batch(looks) if looks else None


def look(run: UUID, first: int, top: int) -> Look:
    try:
        agrees = _agrees(run, first, top)
    except (LookupError, TypeError, ValueError, msgspec.MsgspecError):
        agrees = False  # nothing that the engine wrote: one broken log must not be in the way of all the others
    return Look(run, first, top - first, agrees)


def _agrees(run: UUID, first: int, top: int) -> bool:
    """Whether the message holds what the log adds up to."""
    message = Message.objects.filter(run=run).values_list("parts", "text").first()
    if message is None or top == 0:
        return True  # deleted meanwhile, or there is nothing to lose
    parts, text = message
    if text_of(parts) != text or not _ends_with(run, top, text):
        return False
    # A log that begins later was begun to be folded: then it agreed.
    return first > 1 or _replayed(run, top) == parts


def _ends_with(run: UUID, top: int, text: str) -> bool:
    [last] = log.read(run, top - 1)
    return last.type in TERMINAL and decode_ended(last.data).text_sha256 == hashlib.sha256(text.encode()).hexdigest()


def _replayed(run: UUID, top: int) -> list[Part] | None:
    """The parts that the whole log adds up to, read by pages; None: an event is missing."""
    answer = Answer()
    count = 0
    while answer.seq < top and (page := log.read(run, answer.seq)):
        answer.apply(page)
        count += len(page)
    return answer.parts if count == top else None


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
        mine = dict(unmarked.filter(id__in=[look.run for look in batch.looks]).values_list("id", "log_id"))
        agreeing = [mine[look.run] for look in batch.looks if look.agrees and look.run in mine]
        differing = [look.run for look in batch.looks if not look.agrees and look.run in mine]
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
