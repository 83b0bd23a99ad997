"""`manage.py foldlogs` does what workers do in the background, and says what it did."""

from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError
from pytest_django.fixtures import Settings

from chat.eventlog import retention
from chat.management.commands import foldlogs
from chat.models import Message, Run, RunEvent
from tests.eventlog.conftest import stored


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "PAUSE_SECONDS", 0)


def foldlogs_says(**options: Any) -> list[str]:
    out = StringIO()
    call_command("foldlogs", stdout=out, **options)
    return out.getvalue().splitlines()


def test_it_works(ended: Callable[..., Run]) -> None:
    old, new = ended(), ended(hours=23)
    assert foldlogs_says() == ["Folded 1 runs, deleted 4 events."]
    assert (len(stored(old)), len(stored(new))) == (1, 5)
    assert foldlogs_says() == ["Folded 0 runs, deleted 0 events."]


def test_the_hours_are_an_option(ended: Callable[..., Run]) -> None:
    run = ended(hours=1)
    assert foldlogs_says(hours=0.5) == ["Folded 1 runs, deleted 4 events."]
    assert stored(run) == [5]


def test_a_dry_run_says_the_same_and_changes_nothing(
    ended: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH_EVENTS", 10)
    runs = [ended(words=words) for words in (1, 30, 5)]
    Message.objects.filter(run=runs[0]).update(text="Edited")
    kept = "1 runs keep their events, which do not add up to their messages."
    before = list(RunEvent.objects.order_by("run_id", "seq").values_list())
    assert foldlogs_says(dry_run=True) == ["Would fold 2 runs and delete 37 events.", kept]
    assert list(RunEvent.objects.order_by("run_id", "seq").values_list()) == before
    assert set(Run.objects.values_list("folded", flat=True)) == {None}
    assert foldlogs_says() == ["Folded 2 runs, deleted 37 events.", kept]
    assert [len(stored(run)) for run in runs] == [3, 1, 1]


def test_a_busy_database_is_asked_again(ended: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foldlogs, "TRY_SECONDS", 0)
    fold, failures = retention.fold, [OperationalError("busy")] * (foldlogs.TRIES - 1)

    def fail_first(batch: retention.Batch) -> retention.Folded:
        if failures:
            raise failures.pop()
        return fold(batch)

    monkeypatch.setattr(retention, "fold", fail_first)
    ended()
    assert foldlogs_says() == ["Folded 1 runs, deleted 4 events."]
    assert not failures


@pytest.mark.parametrize("hours", [0, -1, 1e9, float("nan")])
def test_hours_that_make_no_sense_are_refused(db: None, hours: float) -> None:
    with pytest.raises(CommandError, match="give --hours"):
        foldlogs_says(hours=hours)


def test_where_events_are_kept_for_ever_it_must_be_told_how_old(db: None, settings: Settings) -> None:
    settings.CHAT_LOG_HOURS = 0
    with pytest.raises(CommandError, match="0 hours fold nothing"):
        foldlogs_says()
