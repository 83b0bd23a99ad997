"""The log writer: stored before it is shown, in order, once, and only by who holds the run."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence

import pytest
from asgiref.sync import sync_to_async
from django.db import IntegrityError, OperationalError, connection

from chat.eventlog import Lease, LogWriter, log
from chat.eventlog import writer as writer_module
from chat.eventlog.append import append
from chat.eventlog.lease import UNFLUSHED_EVENTS
from chat.models import Run, RunEvent
from chat.protocol.events import Event
from tests.eventlog.conftest import Log, stored

MakeRun = Callable[..., Run]
sqlite_only = pytest.mark.skipif(connection.vendor != "sqlite", reason="uses SQLite's own means")
read_seqs = sync_to_async(stored)
update = sync_to_async(lambda run, **fields: Run.objects.filter(id=run.id).update(**fields))


def lease_of(run: Run, seq: int = 0) -> Lease:
    return Lease(run.id, run.log_id, run.epoch, seq)


@sync_to_async
def sql(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


async def test_it_works(store: Log, make_run: MakeRun) -> None:
    run = await sync_to_async(make_run)()
    store.append(lease_of(run), "Hel", "lo")
    await store.flushed()
    assert [event.data for event in await sync_to_async(log.read_all)(run.id)] == [
        '{"part":0,"text":"Hel"}',
        '{"part":0,"text":"lo"}',
    ]
    assert store.seqs(run.id) == [1, 2]


async def test_events_keep_their_order_over_many_commits(store: Log, make_run: MakeRun) -> None:
    runs = [await sync_to_async(make_run)() for _ in range(3)]
    leases = [lease_of(run) for run in runs]
    for number in range(700):
        for lease in leases:
            store.append(lease, str(number))
        if number % 50 == 0:
            await asyncio.sleep(0.002)
    await store.flushed()
    for run in runs:
        assert store.seqs(run.id) == await read_seqs(run) == list(range(1, 701))


async def test_what_gathers_during_a_commit_becomes_one_batch(
    store: Log, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def counting(batch: Sequence[tuple[Lease, Event]]) -> list[Lease]:
        sizes.append(len(batch))
        return append(batch)

    monkeypatch.setattr(writer_module, "append", counting)
    run = await sync_to_async(make_run)()
    store.append(lease_of(run), *"x" * 400)
    await store.flushed()
    assert sum(sizes) == 400
    assert len(sizes) <= 4


@sqlite_only
async def test_nothing_is_published_before_it_is_in_the_database(store: Log, make_run: MakeRun) -> None:
    run = await sync_to_async(make_run)()
    other = sqlite3.connect(connection.settings_dict["NAME"])
    missing: list[int] = []

    def look(key: str, events: Sequence[Event]) -> None:
        for event in events:
            found = other.execute(
                f"SELECT data FROM {RunEvent._meta.db_table} WHERE run_id = ? AND seq = ?",
                (run.log_id, event.seq),
            ).fetchone()
            if found != (event.data,):
                missing.append(event.seq)

    store.check = look
    lease = lease_of(run)
    try:
        for number in range(300):
            store.append(lease, str(number))
            await asyncio.sleep(0)
        await store.flushed()
    finally:
        other.close()
    assert store.seqs(run.id) == list(range(1, 301))
    assert missing == []


async def test_a_zombie_writes_nothing_and_loses_its_lease(store: Log, make_run: MakeRun) -> None:
    run = await sync_to_async(make_run)()
    zombie = lease_of(run)
    losses: list[str] = []
    zombie.on_loss = losses.append
    store.append(zombie, "mine")
    await store.flushed()
    await update(run, epoch=2)
    store.append(zombie, "late", "later")
    await store.flushed()
    assert await read_seqs(run) == [1]
    assert store.seqs(run.id) == [1]
    assert (zombie.loss, losses) == ("fenced", ["fenced"])


async def test_a_zombie_in_a_batch_with_its_successor_is_the_only_one_to_lose(store: Log, make_run: MakeRun) -> None:
    run = await sync_to_async(make_run)(epoch=2)
    zombie, holder = Lease(run.id, run.log_id, 1, 0), Lease(run.id, run.log_id, 2, 0)
    store.append(zombie, "old", "old", "old")
    store.append(holder, "new")
    await store.flushed()
    events = await sync_to_async(log.read_all)(run.id)
    assert [event.data for event in events] == ['{"part":0,"text":"new"}']
    assert [event for _, event in store.published] == events
    assert (zombie.loss, holder.loss) == ("fenced", None)


@pytest.mark.parametrize("status", [Run.Status.COMPLETED, Run.Status.STOPPED, Run.Status.FAILED, Run.Status.QUEUED])
async def test_nothing_is_appended_to_a_run_that_is_not_running(
    store: Log, make_run: MakeRun, status: Run.Status
) -> None:
    run = await sync_to_async(make_run)(status=status)
    lease = lease_of(run)
    store.append(lease, "x")
    await store.flushed()
    assert await read_seqs(run) == []
    assert lease.loss == "fenced"


async def test_a_deleted_run_is_lost_and_leaves_no_events(store: Log, make_run: MakeRun) -> None:
    run = await sync_to_async(make_run)()
    lease = lease_of(run)
    await sync_to_async(run.session.delete)()
    store.append(lease, "x")
    await store.flushed()
    assert lease.loss == "fenced"
    assert await sync_to_async(RunEvent.objects.count)() == 0


async def test_a_fenced_run_does_not_disturb_those_in_the_same_batch(store: Log, make_run: MakeRun) -> None:
    gone, fine = await sync_to_async(make_run)(epoch=9), await sync_to_async(make_run)()
    zombie, lease = Lease(gone.id, gone.log_id, 1, 0), lease_of(fine)
    for _ in range(20):
        store.append(zombie, "x")
        store.append(lease, "y")
    await store.flushed()
    assert (await read_seqs(gone), await read_seqs(fine)) == ([], list(range(1, 21)))
    assert store.seqs(fine.id) == list(range(1, 21))
    assert lease.loss is None


async def test_a_commit_that_was_not_acknowledged_is_stored_once(
    store: Log, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await sync_to_async(make_run)()
    lost = 0

    def unacknowledged(batch: Sequence[tuple[Lease, Event]]) -> list[Lease]:
        nonlocal lost
        found = append(batch)
        if lost < 3:
            lost += 1
            raise OperationalError("server closed the connection unexpectedly")
        return found

    monkeypatch.setattr(writer_module, "append", unacknowledged)
    lease = lease_of(run)
    store.append(lease, "a", "b", "c")
    await store.flushed()
    assert lost == 3
    assert await read_seqs(run) == store.seqs(run.id) == [1, 2, 3]
    assert lease.loss is None


async def test_events_wait_for_a_database_that_comes_back(store: Log, make_run: MakeRun) -> None:
    run = await sync_to_async(make_run)()
    lease = lease_of(run)
    table = RunEvent._meta.db_table
    store.append(lease, "before")
    await store.flushed()
    await sql(f"ALTER TABLE {table} RENAME TO away")
    store.append(lease, "during", "during")
    await asyncio.sleep(0.2)
    assert store.seqs(run.id) == [1]
    await sql(f"ALTER TABLE away RENAME TO {table}")
    store.append(lease, "after")
    await store.flushed()
    assert await read_seqs(run) == store.seqs(run.id) == [1, 2, 3, 4]
    assert lease.loss is None


@sqlite_only
async def test_a_full_disk_is_an_error_of_the_database_and_not_the_writers_end(store: Log, make_run: MakeRun) -> None:
    run = await sync_to_async(make_run)()
    lease = lease_of(run)

    def fill() -> None:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA page_count")
            cursor.execute(f"PRAGMA max_page_count = {cursor.fetchone()[0]}")

    await store.writer.call(fill)  # on the writer's own connection; it opens a new one after an error
    store.append(lease, *["x" * 20_000] * 20)
    await store.flushed()
    assert await read_seqs(run) == store.seqs(run.id) == list(range(1, 21))
    assert lease.loss is None


async def test_after_its_patience_the_lease_is_lost_and_no_gap_is_stored(
    transactional_db: None, make_run: MakeRun
) -> None:
    run, later = await sync_to_async(make_run)(), await sync_to_async(make_run)()
    store = Log()
    store.writer = LogWriter(store._publish, patience=0.15)
    store.writer.start()
    lease, fresh = lease_of(run), lease_of(later)
    table = RunEvent._meta.db_table
    store.append(lease, "kept")
    await store.flushed()
    await sql(f"ALTER TABLE {table} RENAME TO away")
    store.append(lease, "given up")
    while lease.loss is None:
        store.append(lease, "queued behind it")
        await asyncio.sleep(0.01)
    await sql(f"ALTER TABLE away RENAME TO {table}")
    store.append(lease, "too late")
    store.append(fresh, "fine")
    await store.flushed()
    assert (lease.loss, fresh.loss) == ("storage", None)
    assert await read_seqs(run) == store.seqs(run.id) == [1]
    assert await read_seqs(later) == [1]
    await store.writer.close()


async def test_a_batch_that_can_never_be_stored_costs_only_its_own_runs(store: Log, make_run: MakeRun) -> None:
    run, later = await sync_to_async(make_run)(), await sync_to_async(make_run)()
    lease, fresh = lease_of(run), lease_of(later)
    store.writer.append(lease, "text.delta", "\ud800")
    await store.flushed()
    store.append(fresh, "fine")
    await store.flushed()
    assert (lease.loss, fresh.loss) == ("storage", None)
    assert await read_seqs(later) == [1]


async def test_a_job_runs_after_what_was_appended_before_it(store: Log, make_run: MakeRun) -> None:
    run = await sync_to_async(make_run)()
    lease = lease_of(run)
    for number in range(1, 40):
        store.append(lease, "x", "y")
        assert await store.writer.call(log.span, run.id) == (1, number * 2)


async def test_a_job_is_not_held_up_by_streams_that_never_pause(
    store: Log, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await sync_to_async(make_run)()
    lease = lease_of(run)
    streaming = True

    def append_while_more_comes(batch: Sequence[tuple[Lease, Event]]) -> list[Lease]:
        if streaming:
            store.append(lease, "x")
        return append(batch)

    monkeypatch.setattr(writer_module, "append", append_while_more_comes)
    store.append(lease, "x")
    try:
        for _ in range(5):
            await asyncio.wait_for(store.writer.call(lambda: None), 5)
    finally:
        streaming = False
    await store.flushed()
    assert await read_seqs(run) == list(range(1, lease.seq + 1))


async def test_streams_are_not_held_up_by_a_burst_of_jobs(store: Log, make_run: MakeRun) -> None:
    run = await sync_to_async(make_run)()
    lease = lease_of(run)
    done: list[int] = []
    published_after: list[int] = []
    store.check = lambda _key, _events: published_after.append(len(done))
    jobs = [asyncio.ensure_future(store.writer.call(time.sleep, 0.01)) for _ in range(50)]
    for job in jobs:
        job.add_done_callback(lambda _: done.append(1))
    await asyncio.sleep(0.05)
    store.append(lease, "x")
    await asyncio.gather(*jobs)
    assert published_after
    assert published_after[0] < 40


async def test_a_job_raises_what_it_raises_and_is_rolled_back(store: Log, make_run: MakeRun) -> None:
    run = await sync_to_async(make_run)()

    def half() -> None:
        Run.objects.filter(id=run.id).update(model="changed")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await store.writer.call(half)
    assert (await Run.objects.aget(id=run.id)).model == "alpha"


async def test_a_job_that_the_database_refuses_fails_alone(store: Log, make_run: MakeRun) -> None:
    run, other = await sync_to_async(make_run)(idempotency_key="one"), await sync_to_async(make_run)()

    def rename(run: Run, **fields: str) -> int:
        return Run.objects.filter(id=run.id).update(**fields)

    jobs = [
        store.writer.call(time.sleep, 0.05),  # the others gather behind it
        store.writer.call(rename, run, model="before"),
        store.writer.call(rename, other, idempotency_key="one"),
        store.writer.call(rename, other, model="after"),
    ]
    _, before, refused, after = await asyncio.gather(*jobs, return_exceptions=True)
    assert (before, after) == (1, 1)
    assert isinstance(refused, IntegrityError)
    assert [found.model async for found in Run.objects.order_by("id")] == ["before", "after"]


async def test_a_caller_that_left_does_not_undo_its_job(store: Log, make_run: MakeRun) -> None:
    run = await sync_to_async(make_run)()
    call = asyncio.create_task(store.writer.call(Run.objects.filter(id=run.id).update, model="changed"))
    await asyncio.sleep(0)
    call.cancel()
    await store.flushed()
    assert (await Run.objects.aget(id=run.id)).model == "changed"


async def test_closing_commits_what_was_appended_and_finishes_the_jobs(
    transactional_db: None, make_run: MakeRun
) -> None:
    run = await sync_to_async(make_run)()
    store = Log()
    store.writer.start()
    store.append(lease_of(run), *"x" * 1200)
    job = asyncio.create_task(store.writer.call(log.span, run.id))
    await asyncio.sleep(0)
    await store.writer.close()
    assert await job == (1, 1200)
    assert store.seqs(run.id) == await read_seqs(run) == list(range(1, 1201))
    with pytest.raises(RuntimeError):
        await store.writer.call(lambda: None)


async def test_a_lease_is_full_until_the_writer_has_caught_up(store: Log, make_run: MakeRun) -> None:
    run = await sync_to_async(make_run)()
    lease = lease_of(run)
    store.append(lease, *"x" * UNFLUSHED_EVENTS)
    assert lease.full
    await asyncio.wait_for(lease.room(), 5)
    assert lease.unflushed < UNFLUSHED_EVENTS
    await store.flushed()
    assert lease.unflushed == 0


async def test_a_lost_lease_keeps_nobody_waiting_for_room() -> None:
    lease = Lease(Run().id, 1, 1, 0)
    lease.unflushed = UNFLUSHED_EVENTS
    waiting = asyncio.create_task(lease.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    lease.lose("fenced")
    await asyncio.wait_for(waiting, 1)
    lease.lose("storage")
    assert lease.loss == "fenced"


async def test_an_idle_writer_takes_no_time(store: Log) -> None:
    begun = time.process_time()
    await asyncio.sleep(0.3)
    assert time.process_time() - begun < 0.1
