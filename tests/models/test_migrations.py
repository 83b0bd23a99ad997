"""A database of an earlier version keeps what it holds."""

from collections.abc import Iterator

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from chat.eventlog import log, retention
from chat.models import Run, RunEvent
from chat.models.ids import new_log_id


@pytest.fixture
def old_schema(transactional_db: None) -> Iterator[None]:
    call_command("migrate", "chat", "0001", verbosity=0)
    yield
    call_command("migrate", "chat", verbosity=0)


def test_the_log_of_every_run_survives_its_new_key(old_schema: None) -> None:
    apps = MigrationExecutor(connection).loader.project_state([("chat", "0001_initial")]).apps
    old = {name: apps.get_model("chat", name) for name in ("ChatSession", "Message", "Run", "RunEvent")}
    for number in range(3):
        session = old["ChatSession"].objects.create(guest=f"guest {number}")
        message = old["Message"].objects.create(session=session, role="assistant")
        run = old["Run"].objects.create(session=session, message=message, requester=f"guest:{number}")
        for seq in range(1, number + 2):
            old["RunEvent"].objects.create(run=run, seq=seq, type="text.delta", data=f"{number}.{seq}")

    call_command("migrate", "chat", verbosity=0)

    found = {run.requester: [event.data for event in log.read_all(run.id)] for run in Run.objects.all()}
    assert found == {"guest:0": ["0.1"], "guest:1": ["1.1", "1.2"], "guest:2": ["2.1", "2.2", "2.3"]}
    assert len(set(Run.objects.values_list("log_id", flat=True))) == 3
    Run.objects.get(requester="guest:2").session.delete()
    assert RunEvent.objects.count() == 3


def test_a_version_that_knows_nothing_of_folding_starts_runs_beside_one_that_does(db: None) -> None:
    apps = MigrationExecutor(connection).loader.project_state([("chat", "0002_integer_log_key")]).apps
    old = {name: apps.get_model("chat", name) for name in ("ChatSession", "Message", "Run")}
    session = old["ChatSession"].objects.create(guest="guest")
    message = old["Message"].objects.create(session=session, role="assistant")
    old["Run"].objects.create(session=session, message=message, requester="guest:guest", ended=timezone.now())
    assert Run.objects.get().folded is None
    assert retention.due(-1).count() == 1


def test_many_log_ids_drawn_in_one_moment_differ_and_grow() -> None:
    drawn = [new_log_id() for _ in range(20_000)]
    assert sorted(set(drawn)) == drawn
    assert 0 < drawn[0] < drawn[-1] < 2**63
