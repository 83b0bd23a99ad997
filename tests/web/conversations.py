"""Chat sessions as they lie in the database, without an engine."""

from datetime import datetime

from django.utils import timezone

from chat.models import ChatSession, Message, Run, RunEvent
from chat.protocol.events import Event, PartDelta, RunStarted, encode_data
from chat.runs.owner import Owner


def conversation(
    owner: Owner, prompt: str = "Hello", answer: str = "Hi there", title: str = "Greetings"
) -> ChatSession:
    session, message = _turn(owner, prompt, title)
    message.text, message.status = answer, Message.Status.DONE
    message.parts = [{"type": "text", "text": answer}]
    message.save()
    _run(owner, message, status=Run.Status.COMPLETED, ended=timezone.now())
    return session


def failed_conversation(owner: Owner, error: str, *, retryable: bool = True) -> ChatSession:
    session, message = _turn(owner, "Hello", "Failed")
    message.status = Message.Status.FAILED
    message.save()
    status = Run.Status.FAILED
    run = _run(owner, message, status=status, ended=timezone.now())
    run.error_code, run.error_message, run.error_retryable = "upstream_unavailable", error, retryable
    run.save()
    return session


def streaming_conversation(owner: Owner, reasoning: str, chunks: list[str]) -> ChatSession:
    session, message = _turn(owner, "Hello", "Streaming")
    run = _run(owner, message, status=Run.Status.RUNNING, ended=None)
    started = RunStarted(session=str(session.id), message=str(message.id), model="test", attempt=1)
    log = [Event(1, "run.started", encode_data(started))]
    log.append(Event(2, "reasoning.delta", encode_data(PartDelta(0, reasoning))))
    for seq, chunk in enumerate(chunks, 3):
        log.append(Event(seq, "text.delta", encode_data(PartDelta(1, chunk))))
    RunEvent.objects.bulk_create(RunEvent(run=run, seq=event.seq, type=event.type, data=event.data) for event in log)
    return session


def _turn(owner: Owner, prompt: str, title: str) -> tuple[ChatSession, Message]:
    session = ChatSession.objects.create(owner_id=owner.user, guest=owner.guest, title=title)
    question = Message.objects.create(
        session=session, role=Message.Role.USER, text=prompt, parts=[{"type": "text", "text": prompt}]
    )
    answer = Message.objects.create(
        session=session, parent=question, role=Message.Role.ASSISTANT, status=Message.Status.STREAMING, model="test"
    )
    session.active_leaf = answer
    session.save()
    return session, answer


def _run(owner: Owner, message: Message, *, status: Run.Status, ended: datetime | None) -> Run:
    return Run.objects.create(
        session=message.session, message=message, requester=owner.requester, model="test", status=status, ended=ended
    )
