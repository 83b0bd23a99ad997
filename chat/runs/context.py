"""What the model is told: the system prompt and the path from the root to the prompt, cut to the model's window."""

from uuid import UUID

from chat.models import ChatSession, Message
from chat.providers.base import ChatTurn
from chat.runs import tree
from chat.runs.tokens import TURN_TOKENS, estimate_tokens

# No window holds more; the rest of an endless chat session is not even read.
MOST_MESSAGES = 1_000


class ContextTooLong(Exception):
    """The prompt alone, with the system prompt, does not fit."""


def build(answer: UUID, system: str, window: int, reserved: int) -> list[ChatTurn]:
    """The turns before the message `answer`, oldest first, in at most `window` tokens less those `reserved` for it."""
    ids = tree.path(answer, MOST_MESSAGES)[1:]
    messages = {message.id: message for message in Message.objects.filter(id__in=ids).only("id", "role", "text")}
    newest_first = [messages[id_] for id_ in ids if id_ in messages]
    room = window - min(reserved, window // 2)
    turns = [ChatTurn("system", system)] if system else []
    room -= sum(_cost(turn) for turn in turns)
    return turns + _newest_that_fit(newest_first, room)


def system_prompt(session: UUID, options: dict[str, object], default: str) -> str:
    if own := options.get("system"):
        return str(own)
    stored = ChatSession.objects.filter(id=session).values_list("system_prompt", flat=True).first()
    return stored or default


def _newest_that_fit(newest_first: list[Message], room: int) -> list[ChatTurn]:
    kept: list[ChatTurn] = []
    pending: list[ChatTurn] = []  # the answer of a turn, until its prompt is known to fit as well
    for message in newest_first:
        turn = ChatTurn("user" if message.role == Message.Role.USER else "assistant", message.text)
        room -= _cost(turn)
        if room < 0:
            break
        if message.text or turn.role == "user":  # an answer that failed before its first token says nothing
            pending.append(turn)
        if turn.role == "user":
            kept += pending
            pending = []
    if not kept:
        raise ContextTooLong
    return kept[::-1]


def _cost(turn: ChatTurn) -> int:
    return estimate_tokens(turn.text) + TURN_TOKENS
