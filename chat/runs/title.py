"""Titles a chat session by a cheap call to the model, after its first answer."""

import logging
from uuid import UUID

from chat.models import ChatSession, Message
from chat.providers.base import ChatTurn, Provider, ProviderError, Request

log = logging.getLogger(__name__)

MOST_CHARS = 80
MOST_READ = 2_000
_ASK = (
    "Above are a prompt and its answer. Give their conversation a title of at most six words, in its own language. "
    "Answer with the title alone: no quotes, no full stop."
)


def first_exchange(session_id: UUID) -> list[ChatTurn] | None:
    """Prompt and answer to make a title from; None if there is more already or the user named it."""
    if not ChatSession.objects.filter(id=session_id, titled_by=ChatSession.TitledBy.PROMPT).exists():
        return None
    messages = list(Message.objects.filter(session_id=session_id).order_by("id").only("role", "text")[:3])
    if len(messages) != 2:
        return None
    prompt, answer = (message.text[:MOST_READ] for message in messages)
    return [ChatTurn("user", f"{prompt}\n\n---\n{answer}\n\n---\n{_ASK}")]


async def suggest(provider: Provider, model: str, turns: list[ChatTurn]) -> str:
    """A clean title, or "" if the model gave none."""
    try:
        answer = await provider.complete(Request(model=model, turns=turns))
    except ProviderError as error:
        log.warning("no title: %s: %s", error, error.detail[:200])
        return ""
    line = " ".join(answer.replace("\0", "").split()).strip("\"'“”„«»*#. ")
    return line[:MOST_CHARS]


def store(session_id: UUID, title: str) -> bool:
    """Whether it was taken: a name that the user gave in the meantime stays."""
    return bool(
        ChatSession.objects.filter(id=session_id, titled_by=ChatSession.TitledBy.PROMPT).update(
            title=title, titled_by=ChatSession.TitledBy.MODEL
        )
    )
