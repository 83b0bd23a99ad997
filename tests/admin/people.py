"""A chat with everything an operator may meet in it, and the staff who look at it."""

from datetime import timedelta
from typing import NamedTuple, TypeVar

from django.contrib.auth.models import Permission, User
from django.utils import timezone

from chat.models import ChatSession, Message, Run, RunEvent

M = TypeVar("M", ChatSession, Message, Run)

XSS = '<script>alert("x")</script><img src=x onerror=alert(1)>'


class Chat(NamedTuple):
    session: ChatSession
    prompt: Message
    answer: Message
    run: Run


def chat(owner: User | None, *, title: str = "Rivers", text: str = "An answer", **run: object) -> Chat:
    session = ChatSession.objects.create(owner=owner, guest="" if owner else "g" * 32, title=title)
    prompt = Message.objects.create(session=session, role="user", text="A question", parts=[_text("A question")])
    parts = [{"type": "reasoning", "text": "Let me think."}, _text(text)]
    answer = Message.objects.create(
        session=session, parent=prompt, role="assistant", text=text, parts=parts, model="m1"
    )
    ChatSession.objects.filter(pk=session.pk).update(active_leaf=answer)
    session.refresh_from_db()
    requester = f"user:{owner.pk}" if owner else f"guest:{'g' * 32}"
    fields = {
        "status": Run.Status.COMPLETED, "model": "m1", "requester": requester,
        "ended": timezone.now(), "input_tokens": 7, "output_tokens": 9, "request_id": "req_1", "total_ms": 1500,
        "first_token_ms": 210,
    }  # fmt: skip
    made = Run.objects.create(session=session, message=answer, **{**fields, **run})
    return Chat(session, prompt, answer, made)


def lengthen(chat: Chat, messages: int) -> None:
    """Hang a chain of messages under the answer and make its end the active leaf."""
    made, parent = [], chat.answer
    for number in range(messages):
        parent = Message(session=chat.session, parent=parent, role="user", text=f"Turn {number}.")
        made.append(parent)
    Message.objects.bulk_create(made)
    ChatSession.objects.filter(pk=chat.session.pk).update(active_leaf=parent)


def log(run: Run, events: int) -> None:
    RunEvent.objects.bulk_create(
        RunEvent(run=run, seq=seq, type="text.delta", data=f'{{"part":0,"text":"word{seq} "}}')
        for seq in range(1, events + 1)
    )


def staff(name: str, *permissions: str) -> User:
    user = User.objects.create_user(name, password="pw", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions, content_type__app_label="chat"))
    return user


def many(rows: int) -> None:
    """Sessions with one exchange each, an hour apart, in few statements."""
    owner = User.objects.create_user("crowd")
    sessions = [ChatSession(owner=owner, title=f"Chat {number}") for number in range(rows)]
    messages = [
        Message(session=session, role=("user", "assistant")[number % 2], text="word " * 50)
        for number, session in enumerate(sessions)
    ]
    runs = [
        Run(session=message.session, message=message, model=f"m{number % 3}", status="completed", requester="user:1",
            ended=timezone.now())
        for number, message in enumerate(messages)
    ]  # fmt: skip
    _spread(ChatSession, sessions)
    _spread(Message, messages)
    _spread(Run, runs)


def _spread(model: type[M], rows: list[M]) -> None:
    now = timezone.now()
    model._default_manager.bulk_create(rows)
    for number, row in enumerate(rows):
        row.created = now - timedelta(hours=number)
    model._default_manager.bulk_update(rows, ["created"])


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}
