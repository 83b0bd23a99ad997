"""Prepared statements do what the ORM's own do."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction
from django.db.models import DurationField, F
from django.db.models.functions import Now
from django.forms.models import model_to_dict
from django.utils import timezone

from chat.models import ChatSession, Message, Run
from chat.models.prepared import Insert, Select, Slot, Update, slot

pytestmark = pytest.mark.django_db


def make_message(**fields: object) -> Message:
    session = ChatSession.objects.create(guest="charlie")
    return Message.objects.create(session=session, role="assistant", **fields)


def make_run(**fields: object) -> Run:
    message = make_message()
    return Run.objects.create(session=message.session, message=message, requester="guest:charlie", **fields)


def test_it_works() -> None:
    session = ChatSession(guest="charlie", title="O'Neill's “trip”", archived=True)
    Insert(ChatSession).run(session)
    assert not session._state.adding
    found = ChatSession.objects.get(id=session.id)
    assert model_to_dict(found) == model_to_dict(session)
    assert (found.created, found.updated) == (session.created, session.updated)
    assert abs(found.created - timezone.now()) < timedelta(minutes=1)


@pytest.mark.parametrize("rows", [1, 2])
def test_a_second_object_has_values_of_its_own(rows: int) -> None:
    insert = Insert(Message, rows=rows)
    session = ChatSession.objects.create(guest="charlie")
    first = Message(session=session, role="user", parts=[{"type": "text", "text": "é"}], text="é")
    second = Message(session=session, parent=first, role="assistant", status="streaming")
    both = [first, second]
    for start in range(0, 2, rows):
        insert.run(*both[start : start + rows])
    assert not first._state.adding
    assert not second._state.adding
    stored = Message.objects.order_by("id").values_list("parent_id", "role", "status", "parts", "text")
    assert list(stored) == [
        (None, "user", "done", [{"type": "text", "text": "é"}], "é"),
        (first.id, "assistant", "streaming", [], ""),
    ]


def test_a_column_may_be_computed_by_the_database() -> None:
    insert = Insert(Run, lambda: {"lease_until": Now() + Slot("lease", DurationField())})
    message = make_message()
    run = Run(session=message.session, message=message, requester="guest:charlie")
    insert.run(run, lease=timedelta(hours=1))
    left = Run.objects.get(id=run.id).lease_until - timezone.now()  # type: ignore[operator]
    assert timedelta(minutes=59) < left < timedelta(minutes=61)


def test_what_the_database_refuses_is_djangos_error() -> None:
    run = make_run()
    twin = Run(id=uuid4(), session=run.session, message=run.message, requester="guest:charlie")
    with pytest.raises(IntegrityError):
        Insert(Run).run(twin)


def test_rows_are_those_of_the_queryset() -> None:
    runs = [make_run(model=name, options={"temperature": 0.5}) for name in ("alpha", "beta")]
    columns = ("id", "created", "options", "message__parent_id", "ended")
    select = Select(lambda: Run.objects.filter(model=slot(Run, "model"), ended=None).values_list(*columns))
    for run in runs:
        assert select.rows(model=run.model) == list(Run.objects.filter(id=run.id).values_list(*columns))
    assert select.rows(model="gamma") == []


def test_an_update_changes_what_it_names_and_counts_it() -> None:
    run, other = make_run(epoch=1), make_run(epoch=1)
    update = Update(
        lambda: Run.objects.filter(id=slot(Run, "id"), epoch=slot(Run, "epoch")),
        lambda: {
            "status": slot(Run, "status"),
            "epoch": F("epoch") + 1,
            "ended": Now(),
            "total_ms": slot(Run, "total_ms"),
        },
    )
    assert update.run(id=run.id, epoch=1, status="failed", total_ms=None) == 1
    assert update.run(id=run.id, epoch=1, status="stopped", total_ms=7) == 0
    run.refresh_from_db()
    other.refresh_from_db()
    assert (run.status, run.epoch, run.total_ms, other.status) == ("failed", 2, None, "queued")
    assert run.ended is not None
    assert abs(run.ended - timezone.now()) < timedelta(minutes=1)


def test_the_queryset_is_built_once() -> None:
    built = 0

    def queryset() -> object:
        nonlocal built
        built += 1
        return Run.objects.filter(model=slot(Run, "model")).values_list("id")

    select = Select(queryset)  # type: ignore[arg-type]
    assert [select.rows(model=name) for name in ("alpha", "beta")] == [[], []]
    assert built == 1


def test_it_takes_part_in_a_transaction() -> None:
    with transaction.atomic():
        Insert(ChatSession).run(ChatSession(guest="charlie"))
        transaction.set_rollback(True)
    assert not ChatSession.objects.exists()
