"""Looking at logs and folding them, batch by batch."""

from collections.abc import Callable

import pytest

from chat.eventlog import log, retention
from chat.eventlog.retention import Batch, Folded
from chat.models import Run
from chat.protocol.events import Event
from tests.eventlog.conftest import stored

HOURS = 24

Ended = Callable[..., Run]


def batch() -> Batch:
    found = retention.next_batch(HOURS)
    assert found is not None
    return found


def test_it_works(ended: Ended) -> None:
    runs = [ended(words=words) for words in (3, 0)]
    assert retention.fold(batch()) == Folded(runs=2, kept=0, events=5, missed=0)
    assert [stored(run) for run in runs] == [[5], [2]]
    assert retention.next_batch(HOURS) is None


def test_the_oldest_come_first_and_a_batch_is_bounded(ended: Ended, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [ended(hours=hours, words=9) for hours in (26, 28, 27)]
    monkeypatch.setattr(retention, "BATCH_EVENTS", 20)
    assert [each.run for each in batch().looks] == [runs[1].id, runs[2].id]
    monkeypatch.setattr(retention, "BATCH_RUNS", 1)
    assert [each.run for each in batch().looks] == [runs[1].id]


def test_a_long_log_has_batches_of_its_own(ended: Ended, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH_EVENTS", 10)
    short, long = ended(hours=30, words=2), ended(words=22)
    assert [each.run for each in batch().looks] == [short.id]
    retention.fold(batch())
    done = []
    while found := retention.next_batch(HOURS):
        assert [each.run for each in found.looks] == [long.id]
        done.append(retention.fold(found))
    assert [each.events for each in done] == [10, 10, 3]
    assert [each.runs for each in done] == [0, 0, 1]
    assert stored(long) == [24]


def test_one_that_sees_a_log_half_gone_does_not_believe_it(ended: Ended, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two pages of its look another process deletes what comes next."""
    run = ended(words=log.PAGE * 3)
    first, page = batch(), retention._page

    def with_another(log_id: int, after: int) -> list[Event]:
        if after:
            retention.fold(first._replace(upto=log.PAGE * 2))
        return page(log_id, after)

    with monkeypatch.context() as patch:
        patch.setattr(retention, "_page", with_another)
        seen = batch()
    assert [each.agrees for each in seen.looks] == [False]
    assert retention.fold(seen) == Folded(runs=0, kept=0, events=0, missed=0)
    while found := retention.next_batch(HOURS):
        retention.fold(found)
    assert Run.objects.get(id=run.id).folded is True


def test_a_run_that_is_deleted_meanwhile_is_missed(ended: Ended) -> None:
    run, other = ended(), ended()
    found = batch()
    run.session.delete()
    assert retention.fold(found) == Folded(runs=1, kept=0, events=4, missed=1)
    assert stored(other) == [5]


def test_an_ended_run_without_a_log_has_nothing_to_lose(ended: Ended) -> None:
    run = ended()
    run.events.all().delete()
    assert retention.fold(batch()) == Folded(runs=1, kept=0, events=0, missed=0)
