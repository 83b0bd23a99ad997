"""`manage.py foldlogs`: what workers do about once a minute, at once and to the end; for cron, or for a backlog."""

import time
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError

from chat.eventlog import retention
from chat.eventlog.retention import Folded
from chat.management import preparing

# A database that is busy is asked again so often in a row, a second apart.
TRIES = 10
TRY_SECONDS = 1.0


class Command(BaseCommand):
    help = "Folds the events of runs that ended some time ago into their messages. Safe beside a running server."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--hours", type=float, default=settings.CHAT_LOG_HOURS, help="since the run's end (CHAT_LOG_HOURS)"
        )
        parser.add_argument("--dry-run", action="store_true", help="look at the same runs and change nothing")

    def handle(self, *_: Any, hours: float, dry_run: bool, **options: Any) -> None:
        if not 0 < hours <= 87_600:
            raise CommandError(f"{hours:g} hours fold nothing: give --hours, more than 0 and at most 87600.")
        preparing.check_database()
        done = looked(hours) if dry_run else folded(hours)
        told = "Would fold {:,} runs and delete {:,} events." if dry_run else "Folded {:,} runs, deleted {:,} events."
        self.stdout.write(told.format(done.runs, done.events))
        if done.kept:
            self.stdout.write(f"{done.kept:,} runs keep their events, which do not add up to their messages.")


def looked(hours: float) -> Folded:
    done = Folded(0, 0, 0, 0)
    for run, log_id in retention.due(hours).values_list("id", "log_id").iterator():
        found = retention.look(run, log_id)
        done = plus(done, Folded(1, 0, found.events, 0) if found.agrees else Folded(0, 1, 0, 0))
    return done


def folded(hours: float) -> Folded:
    done = Folded(0, 0, 0, 0)
    try:
        while batch := retention.next_batch(hours):
            done = plus(done, fold_patiently(batch))
            time.sleep(retention.PAUSE_SECONDS)  # on SQLite the server's streams wait for us
    except KeyboardInterrupt:
        pass  # what is done is done, and the rest is found again
    return done


def fold_patiently(batch: retention.Batch) -> Folded:
    for _ in range(TRIES - 1):
        try:
            return retention.fold(batch)
        except OperationalError:
            time.sleep(TRY_SECONDS)
    return retention.fold(batch)


def plus(one: Folded, two: Folded) -> Folded:
    return Folded(*(sum(pair) for pair in zip(one, two, strict=True)))
