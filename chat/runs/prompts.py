"""Where a prompt goes: the chat session, locked, and the message that it hangs under."""

from typing import NamedTuple
from uuid import UUID

from chat.models import ChatSession, Message, Run
from chat.protocol.errors import ChatError
from chat.protocol.operations import PromptSend
from chat.runs import tree
from chat.runs.owner import Owner, not_found

TITLE_CHARS = 60


class Place(NamedTuple):
    """`prompt` may be stored already: then it gets another answer. `missing`: what has to be stored before it."""

    session: ChatSession
    prompt: Message
    missing: list[Message] = []


def new(owner: Owner, asked: PromptSend) -> tuple[ChatSession, Message]:
    """Raises ChatError."""
    if asked.session is None:
        if isinstance(asked.parent, UUID):
            raise ChatError("bad_frame", "`parent` needs the `session` it lies in.", field="parent")
        session = ChatSession(owner_id=owner.user, guest=owner.guest)
        parent = None
    else:
        session = owner.session(asked.session, lock=True)
        parent = _parent(session, asked)
    return session, user_message(session, parent, asked.text)


def user_message(session: ChatSession, parent: UUID | None, text: str, fingerprint: str | None = None) -> Message:
    return Message(
        session=session,
        parent_id=parent,
        role=Message.Role.USER,
        text=text,
        parts=[{"type": "text", "text": text}],
        fingerprint=fingerprint,
    )


def _parent(session: ChatSession, asked: PromptSend) -> UUID | None:
    if isinstance(asked.parent, UUID):
        if not Message.objects.filter(id=asked.parent, session=session).exists():
            raise not_found("parent message in this chat session")
        parent: UUID | None = asked.parent
    else:
        parent = None if asked.parent is None else session.active_leaf_id
    check_free(session, parent)
    return parent


def check_free(session: ChatSession, parent: UUID | None) -> None:
    """Raises ChatError: busy."""
    if parent and writing(session, parent):
        raise ChatError("busy", "An answer is still being written here. Wait for its end or stop it.", retry_after_s=1)


def writing(session: ChatSession, leaf: UUID) -> list[UUID]:
    """The runs that are not ended and write a message between the root and `leaf`."""
    unended = dict(Run.objects.filter(session=session, ended=None).values_list("message_id", "id"))
    return [unended[message] for message in tree.path(leaf) if message in unended] if unended else []


def first_words(prompt: str) -> str:
    line = " ".join(prompt.split())
    if len(line) <= TITLE_CHARS:
        return line
    return line[:TITLE_CHARS].rsplit(" ", 1)[0] + "…"
