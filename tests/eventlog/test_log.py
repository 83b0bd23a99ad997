"""Reading the log."""

from collections.abc import Callable
from uuid import uuid4

from chat.eventlog import log
from chat.models import Run, RunEvent

MakeRun = Callable[..., Run]


def fill(run: Run, seqs: range) -> None:
    RunEvent.objects.bulk_create(RunEvent(run=run, seq=seq, type="text.delta", data=str(seq)) for seq in seqs)


def test_it_works(make_run: MakeRun) -> None:
    run = make_run()
    fill(run, range(1, 6))
    assert [event.seq for event in log.read(run.id, 2)] == [3, 4, 5]
    assert log.read(run.id, 5) == []
    assert log.span(run.id) == (1, 5)


def test_a_page_is_bounded_and_starts_at_the_oldest(make_run: MakeRun) -> None:
    run = make_run()
    fill(run, range(1, log.PAGE + 50))
    assert [event.seq for event in log.read(run.id, 0)] == list(range(1, log.PAGE + 1))
    assert len(log.read_all(run.id)) == log.PAGE + 49


def test_an_empty_log_spans_nothing(make_run: MakeRun) -> None:
    assert log.span(make_run().id) == (0, 0)


def test_the_tops_of_several_runs_are_one_query(
    make_run: MakeRun, django_assert_num_queries: Callable[[int], object]
) -> None:
    one, two, empty, deleted = make_run(), make_run(), make_run(), uuid4()
    fill(one, range(1, 4))
    fill(two, range(1, 8))
    with django_assert_num_queries(1):  # type: ignore[attr-defined]
        tops = log.tops([one.id, two.id, empty.id, deleted])
    assert tops == {one.id: 3, two.id: 7, empty.id: 0, deleted: None}
