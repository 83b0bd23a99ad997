"""What the model is told: the system prompt and the path from the root to the prompt, cut to the model's window."""

from uuid import UUID

from chat.models import Message
from chat.providers.base import ChatTurn
from chat.runs import tree
from chat.runs.tokens import TURN_TOKENS, estimate_tokens

# No window holds more; the rest of an endless chat session is not even read.
MOST_MESSAGES = 1_000


class ContextTooLong(Exception):
    """The prompt alone, with the system prompt, does not fit."""


def turns_before(answer: UUID) -> list[ChatTurn]:
    """What was said before the message `answer`, newest first."""
    return [
        ChatTurn("user" if role == Message.Role.USER else "assistant", text)
        for role, text in tree.texts(answer, MOST_MESSAGES)[1:]
    ]


def build(newest_first: list[ChatTurn], system: str, window: int, reserved: int) -> list[ChatTurn]:
    """The turns, oldest first, in at most `window` tokens less those `reserved` for the answer."""
    room = window - min(reserved, window // 2)
    turns = [ChatTurn("system", system)] if system else []
    room -= sum(_cost(turn) for turn in turns)
    return turns + _newest_that_fit(newest_first, room)


def _newest_that_fit(newest_first: list[ChatTurn], room: int) -> list[ChatTurn]:
    kept: list[ChatTurn] = []
    pending: list[ChatTurn] = []  # the answer of a turn, until its prompt is known to fit as well
    for turn in newest_first:
        room -= _cost(turn)
        if room < 0:
            break
        if turn.text or turn.role == "user":  # an answer that failed before its first token says nothing
            pending.append(turn)
        if turn.role == "user":
            kept += pending
            pending = []
    if not kept:
        raise ContextTooLong
    return kept[::-1]


def _cost(turn: ChatTurn) -> int:
    return estimate_tokens(turn.text) + TURN_TOKENS
