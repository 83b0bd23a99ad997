"""A million ended runs cost nothing: what is due is the beginning of an index, and a batch is bounded."""

import time
from collections.abc import Callable

import pytest
from django.db import connection

from chat.eventlog import retention
from chat.models import Message, Run, RunEvent
from tests.eventlog.conftest import stored
from tests.eventlog.logs import written

HOURS = 24
MANY = 100_000
WORDS = 300

# One message each; the nth run of those that are not due ended n milliseconds ago.
NUMBERS = "WITH RECURSIVE n(n) AS (SELECT %s UNION ALL SELECT n + 1 FROM n WHERE n < %s)"
MESSAGES = f"""
INSERT INTO chat_message (id, session_id, role, status, parts, text, model, created)
{NUMBERS} SELECT printf('%%032x', n), %s, 'assistant', 'done', '[]', '', '', '2026-01-01' FROM n
"""
ENDED = f"""
INSERT INTO chat_run (id, log_id, session_id, message_id, status, stop_requested, requester, fingerprint, model,
    options, attempt, handovers, epoch, lease_owner, created, finish_reason, usage_estimated, error_code,
    error_message, error_retryable, error_detail, request_id, retries, ended, folded)
{NUMBERS} SELECT printf('%%032x', n), n, %s, printf('%%032x', n), 'completed', 0, 'user:1', '', 'alpha',
    '{{}}', 1, 0, 1, '', '2026-01-01', 'stop', 0, '', '', 0, '', '', 0,
    strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', printf('-%%f seconds', %s + n / 1000.0)), %s FROM n
"""


@pytest.fixture
def crowded(make_run: Callable[..., Run]) -> Run:
    """Two hundred thousand: half of them folded long ago, the others not due yet. The answer is a run that goes on."""
    run = make_run()
    session = run.session_id.hex
    with connection.cursor() as cursor:
        for first, seconds, folded in ((1, 3600 * 100, True), (MANY + 1, 3600, None)):
            cursor.execute(MESSAGES, [first, first + MANY - 1, session])
            cursor.execute(ENDED, [first, first + MANY - 1, session, seconds, folded])
    return run


def make_due(many: int) -> list[Run]:
    runs = list(Run.objects.filter(folded=True).order_by("log_id")[:many])
    for run in runs:
        text, events = written(run.log_id, WORDS)
        RunEvent.objects.bulk_create(events)
        Message.objects.filter(run=run).update(text=text, parts=[{"type": "text", "text": text}])
    Run.objects.filter(id__in=[run.id for run in runs]).update(folded=None)
    return runs


def milliseconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1000


@pytest.mark.slow
def test_among_two_hundred_thousand_ended_runs_looking_and_folding_take_milliseconds(crowded: Run) -> None:
    assert Run.objects.count() == 2 * MANY + 1
    # The quickest of some: others use the machine as well.
    idle = min(milliseconds(lambda: retention.next_batch(HOURS)) for _ in range(20))
    due = make_due(10)
    looks, folds, batch = [], [], retention.next_batch(HOURS)
    while batch is not None:
        folds.append(milliseconds(lambda batch=batch: retention.fold(batch)))  # type: ignore[misc]
        begun = time.perf_counter()
        batch = retention.next_batch(HOURS)
        looks.append((time.perf_counter() - begun) * 1000)
    assert len(folds) == len(due) / 2
    assert all(len(stored(run)) == 1 for run in due)
    print(f"nothing due {idle:.2f} ms, looking {min(looks[:-1]):.1f} ms, folding {min(folds):.1f} ms")
    assert idle < 5
    assert min(looks[:-1]) < 50
    assert min(folds) < 50


def test_what_is_due_is_found_by_an_index_that_holds_nothing_else(make_run: Callable[..., Run]) -> None:
    sql, params = retention.due(HOURS).query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}", params)
        [step] = [row[-1] for row in cursor.fetchall()]
    assert step == "SEARCH chat_run USING INDEX run_to_fold (ended<?)"
