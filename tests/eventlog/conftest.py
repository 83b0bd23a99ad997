from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from django.contrib.auth.models import User
from django.utils import timezone

from chat.eventlog import Lease, LogWriter, log
from chat.models import ChatSession, Message, Run, RunEvent
from chat.protocol.events import Event
from tests.eventlog.logs import written


class Log:
    """A started writer that keeps what it published, and what of it was not in the database at that moment."""

    def __init__(self) -> None:
        self.published: list[tuple[str, Event]] = []
        self.early: list[Event] = []
        self.check: Callable[[str, Sequence[Event]], None] | None = None
        self.writer = LogWriter(self._publish, patience=5)

    def _publish(self, run: str, events: Sequence[Event]) -> None:
        if self.check is not None:
            self.check(run, events)
        self.published += [(run, event) for event in events]

    def seqs(self, run: UUID) -> list[int]:
        return [event.seq for key, event in self.published if key == str(run)]

    def append(self, lease: Lease, *texts: str) -> None:
        for text in texts:
            self.writer.append(lease, "text.delta", f'{{"part":0,"text":"{text}"}}')

    async def flushed(self) -> None:
        """Everything appended so far was committed, or given up, and its callbacks ran."""
        await self.writer.call(lambda: None)


@pytest_asyncio.fixture
async def store(transactional_db: None) -> AsyncIterator[Log]:
    store = Log()
    store.writer.start()
    yield store
    await store.writer.close()


@pytest.fixture
def make_run(alice_user: User) -> Callable[..., Run]:
    def make(**fields: Any) -> Run:
        session = ChatSession.objects.create(owner=alice_user)
        message = Message.objects.create(session=session, role="assistant", status="streaming")
        given = {"status": Run.Status.RUNNING, "epoch": 1, "attempt": 1} | fields
        return Run.objects.create(session=session, message=message, requester="user:1", model="alpha", **given)

    return make


@pytest.fixture
def ended(make_run: Callable[..., Run]) -> Callable[..., Run]:
    """Whole runs that ended so many hours ago."""

    def make(hours: float = 25, words: int = 3) -> Run:
        run = make_run(status=Run.Status.COMPLETED, ended=timezone.now() - timedelta(hours=hours))
        text, events = written(run.log_id, words)
        RunEvent.objects.bulk_create(events)
        parts = [{"type": "text", "text": text}] if text else []
        Message.objects.filter(run=run).update(text=text, parts=parts, status="done")
        return run

    return make


def stored(run: Run) -> list[int]:
    return [event.seq for event in log.read_all(run.id)]
