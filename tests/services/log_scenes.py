"""What happens to the log on Postgres, played in a process of its own (see postgres.py). Imports no test framework."""

import asyncio
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from django.core.management import call_command
from django.db import OperationalError, connection, connections, transaction
from django.utils import timezone

from chat.eventlog import Lease, LogWriter, Readers, retention
from chat.eventlog.append import append
from chat.models import ChatSession, Message, Run, RunEvent
from chat.protocol.events import Event, PartDelta, encode_data
from chat.runs import sessions, usage
from chat.runs.owner import Owner
from tests.eventlog.logs import written

HOURS = 24
SOMEBODY = Owner(guest="somebody")


def prepare() -> None:
    call_command("migrate", verbosity=0)


def clear() -> None:
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE chat_chatsession, chat_runevent CASCADE")


def make_run(**fields: Any) -> Run:
    session = ChatSession.objects.create(guest="somebody")
    message = Message.objects.create(session=session, role="assistant", status="streaming")
    given = {"status": Run.Status.RUNNING, "epoch": 1, "attempt": 1, **fields}
    return Run.objects.create(session=session, message=message, requester="guest:somebody", model="alpha", **given)


def lease(run: Run) -> Lease:
    return Lease(run.id, run.log_id, run.epoch, 0)


def delta(seq: int) -> Event:
    return Event(seq, "text.delta", encode_data(PartDelta(0, f"{seq} ")))


def orphans() -> int:
    return RunEvent.objects.exclude(run__log_id__in=Run.objects.values("log_id")).count()


def in_thread(work: Callable[[], object]) -> threading.Thread:
    def whole() -> None:
        try:
            work()
        finally:
            connections.close_all()

    thread = threading.Thread(target=whole)
    thread.start()
    return thread


def until_blocked() -> None:
    """Until somebody waits for a lock."""
    give_up = time.monotonic() + 10
    with connection.cursor() as cursor:
        while time.monotonic() < give_up:
            cursor.execute("SELECT pg_stat_clear_snapshot()")  # within a transaction the first look is kept
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            if cursor.fetchone() != (0,):
                return
            time.sleep(0.01)
    raise TimeoutError("nobody waits")


# Deleting a chat session while its run is written ---------------------------------------------------------------------


def append_between_the_two_deletes() -> dict[str, Any]:
    """Django has deleted the events and not yet the run when another process commits one more."""
    clear()
    run = make_run()
    mine = lease(run)
    append([(mine, delta(1))])
    lost: list[list[Lease]] = []

    def late(execute: Any, sql: str, *rest: Any) -> Any:
        found = execute(sql, *rest)
        if sql.startswith('DELETE FROM "chat_runevent"'):
            in_thread(lambda: lost.append(append([(mine, delta(2))]))).join()
        return found

    with connection.execute_wrapper(late):
        run.session.delete()
    return {"appended": lost == [[]], "orphans": orphans()}


def delete_beside_an_open_append() -> dict[str, Any]:
    """An append holds the run's row; the deletion has to wait for it, and takes what it appended."""
    clear()
    run = make_run()
    with transaction.atomic():
        append([(lease(run), delta(1))])
        deleting = in_thread(run.session.delete)
        until_blocked()
    deleting.join()
    return {"runs": Run.objects.count(), "orphans": orphans()}


def append_beside_an_open_delete() -> dict[str, Any]:
    """The deletion holds the run's row; the append has to wait for it, and finds that it lost the run."""
    clear()
    run = make_run()
    mine, lost = lease(run), []
    with transaction.atomic():
        run.session.delete()
        appending = in_thread(lambda: lost.append(append([(mine, delta(1))])))
        until_blocked()
    appending.join()
    return {"lost": lost == [[mine]], "orphans": orphans()}


def appends_that_race_deletes(rounds: str) -> dict[str, Any]:
    clear()
    dice = random.Random(4)
    appended = 0
    for _ in range(int(rounds)):
        run = make_run()
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(append_until_lost, lease(run))
            time.sleep(dice.random() * 0.02)
            run.session.delete()
            appended += writing.result()
    return {"appended": appended > int(rounds), "orphans": orphans(), "events": RunEvent.objects.count()}


def owners_deletes_that_race_appends(rounds: str) -> dict[str, Any]:
    """The run ends as stopped right behind the last event that was appended, whenever that was."""
    clear()
    dice = random.Random(5)
    in_order = 0
    for _ in range(int(rounds)):
        run = make_run()
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(append_until_lost, lease(run))
            time.sleep(dice.random() * 0.02)
            with transaction.atomic():
                [ending] = sessions.remove(SOMEBODY, run.session_id)
            in_order += ending.event.seq == writing.result() + 1
    return {"in_order": in_order, "orphans": orphans(), "events": RunEvent.objects.count()}


def page_through(rows: str) -> dict[str, Any]:
    """Lists and sums, for which the two databases have words of their own."""
    clear()
    runs = [make_run() for _ in range(int(rows))]
    ChatSession.objects.update(updated=timezone.now())
    Run.objects.update(output_tokens=3, created=timezone.now())
    cursor, found = None, []
    while True:
        page, cursor = sessions.listed(SOMEBODY, archived=False, cursor=cursor, most=4)
        found += [session.id for session in page]
        if cursor is None:
            break
    today = timezone.now().date()
    [used] = usage.by_day(SOMEBODY, today - timedelta(days=1), today)
    whole = found == sorted((run.session_id for run in runs), reverse=True)
    return {"whole": whole, "runs": used.runs, "tokens": used.output_tokens}


def append_until_lost(mine: Lease) -> int:
    seq = 1
    while not append([(mine, delta(seq))]):
        seq += 1
    connections.close_all()
    return seq - 1


# Folding --------------------------------------------------------------------------------------------------------------


def make_ended(deltas: int, hours: float = HOURS + 1) -> Run:
    run = make_run(status=Run.Status.COMPLETED, ended=timezone.now() - timedelta(hours=hours))
    text, events = written(run.log_id, deltas)
    RunEvent.objects.bulk_create(events)
    parts = [{"type": "text", "text": text}] if text else []
    Message.objects.filter(run=run).update(parts=parts, text=text, status="done")
    return run


def make_many_ended(runs: str) -> None:
    clear()
    for number in range(int(runs)):
        make_ended(number % 60)


def fold_all() -> dict[str, int]:
    """As an engine does, until nothing is due; how many runs this process folded itself."""
    retention.BATCH_EVENTS = 100
    retention.PAUSE_SECONDS = 0.001
    fold, done = retention.fold, []

    def counted(batch: retention.Batch) -> retention.Folded:
        done.append(fold(batch))
        return done[-1]

    retention.fold = counted
    asyncio.run(turns())
    return {"runs": sum(each.runs for each in done), "kept": sum(each.kept for each in done)}


async def turns() -> None:
    readers, writer = Readers(), LogWriter(lambda run, events: None, patience=1)
    writer.start()
    while await readers.call(retention.due(HOURS).exists):
        await retention.turn(readers, writer, HOURS)
    await writer.close()
    readers.close()


def left() -> dict[str, int]:
    return {
        "due": retention.due(HOURS).count(),
        "folded": Run.objects.filter(folded=True).count(),
        "events": RunEvent.objects.count(),
        "ends": RunEvent.objects.filter(type="run.completed").count(),
    }


def fold_what_another_process_folds() -> dict[str, Any]:
    clear()
    theirs, mine = make_ended(5), make_ended(5)
    batch = retention.next_batch(HOURS)
    assert batch is not None
    with transaction.atomic():
        list(Run.objects.select_for_update().filter(id=theirs.id))
        found: list[retention.Folded] = []
        in_thread(lambda: found.append(retention.fold(batch))).join()
    return {"folded": found[0]._asdict(), "left": [theirs.events.count(), mine.events.count()]}


def fold_beside_an_open_delete() -> dict[str, Any]:
    """Django has deleted the events and not yet the run: the folder gives way, long before Postgres sees a deadlock."""
    clear()
    run = make_ended(5)
    batch = retention.next_batch(HOURS)
    assert batch is not None
    told: list[str] = []

    def fold() -> None:
        begun = time.monotonic()
        try:
            retention.fold(batch)
        except OperationalError as error:
            told.append(f"{type(error.__cause__).__name__} within {time.monotonic() - begun:.0f} s")

    def meanwhile(execute: Any, sql: str, *rest: Any) -> Any:
        found = execute(sql, *rest)
        if sql.startswith('DELETE FROM "chat_runevent"') and not told:
            in_thread(fold).join()
        return found

    with connection.execute_wrapper(meanwhile):
        run.session.delete()
    return {"told": told, "runs": Run.objects.count(), "orphans": orphans()}


MESSAGES = """
INSERT INTO chat_message (id, session_id, role, status, parts, text, model, created)
SELECT lpad(to_hex(n), 32, '0')::uuid, %s, 'assistant', 'done', '[]', '', '', now() FROM generate_series(1, %s) n
"""
ENDED = """
INSERT INTO chat_run (id, log_id, session_id, message_id, status, stop_requested, requester, fingerprint, model,
    options, attempt, handovers, epoch, lease_owner, created, finish_reason, usage_estimated, error_code,
    error_message, error_retryable, error_detail, request_id, retries, ended, folded)
SELECT lpad(to_hex(n), 32, '0')::uuid, n, %s, lpad(to_hex(n), 32, '0')::uuid, 'completed', false, 'user:1', '',
    'alpha', '{}', 1, 0, 1, '', now(), 'stop', false, '', '', false, '', '', 0, now() - n * interval '1 ms',
    CASE WHEN n %% 2 = 0 THEN true END FROM generate_series(1, %s) n
"""


def look_among_many(runs: str) -> dict[str, Any]:
    """Half of them folded, half not due yet; how it is looked for, and the quickest of some looks in milliseconds."""
    clear()
    session = make_run().session_id
    with connection.cursor() as cursor:
        cursor.execute(MESSAGES, [session, int(runs)])
        cursor.execute(ENDED, [session, int(runs)])
        cursor.execute("ANALYZE chat_run")
    looks = []
    for _ in range(20):
        begun = time.perf_counter()
        assert retention.next_batch(HOURS) is None
        looks.append((time.perf_counter() - begun) * 1000)
    plan = retention.due(HOURS).values("id")[:50].explain()
    clear()
    return {"plan": plan, "milliseconds": min(looks)}
