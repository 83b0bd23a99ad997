"""What `useChat` posts, in the shapes of all its generations, as one ClientTurn."""

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec
from django.conf import settings
from msgspec import Struct, field

from chat.protocol.codec import check_prompt
from chat.protocol.errors import ChatError
from chat.protocol.operations import Options
from chat.runs.client_turn import ClientTurn, Said, as_id

CHAT_ID_CHARS = 200
MOST_MESSAGES = 2_000
SYSTEM_CHARS = 32_000
# A run with such a key was started here.
KEY = "aisdk:"
NOT_TAKEN = frozenset({"file", "image"})


class Part(Struct):
    type: str = ""
    text: Any = None  # of a text part a string; what other parts have under this name is theirs


class Message(Struct):
    """`content` is what 2.2 to 4 have, `parts` what 5 and later have; 4.2 and 4.3 have both, saying the same."""

    role: str
    id: str | None = None
    content: str | list[Part] | None = None
    parts: list[Part] | None = None
    attachments: list[Any] | None = field(name="experimental_attachments", default=None)

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        joint = "\n" if self.role == "user" else ""  # of an answer the parts adjoin, as they do in what we store
        return joint.join(part.text for part in self._all() if part.type == "text" and isinstance(part.text, str))

    @property
    def has_files(self) -> bool:
        return bool(self.attachments) or any(part.type in NOT_TAKEN for part in self._all())

    def _all(self) -> list[Part]:
        return (self.parts or []) + (self.content if isinstance(self.content, list) else [])


class Body(Struct):
    """`message` instead of `messages`: an application that sends its last message only."""

    id: str | None = None
    messages: list[Message] | None = None
    message: Message | None = None
    trigger: str | None = None
    protocol: str | None = None
    model: str | None = None

    @property
    def said(self) -> list[Message]:
        return self.messages or ([self.message] if self.message is not None else [])


def turn_of(body: Body) -> ClientTurn:
    """Raises ChatError: bad_frame, too_large."""
    check_chat_id(body.id)
    messages = body.said
    _check(messages)
    trusted = settings.CHAT_AISDK_TRUST_HISTORY
    turn = ClientTurn(
        said=tuple(_said(messages)),
        chat=body.id,
        once=body.trigger == "submit-message",
        appends=not body.messages,
        trusted=trusted,
        model=body.model,
        options=Options(system=_system(messages) if trusted else None),
    )
    return msgspec.structs.replace(turn, id=_key(body, turn))


def check_chat_id(chat: str | None) -> None:
    if chat is not None and not (0 < len(chat) <= CHAT_ID_CHARS and "\0" not in chat):
        raise ChatError("bad_frame", f"A chat id has 1 to {CHAT_ID_CHARS} characters, and no NUL.", field="id")


def _check(messages: list[Message]) -> None:
    if not messages:
        raise ChatError("bad_frame", "There is no message. Send `messages`, the user's last.", field="messages")
    if len(messages) > MOST_MESSAGES:
        raise ChatError("too_large", f"A request may hold at most {MOST_MESSAGES:,} messages.", field="messages")
    last = messages[-1]
    if last.role != "user":
        raise ChatError(
            "bad_frame", "The last message must be the user's: no tool result was asked for.", field="messages"
        )
    if last.has_files:
        raise ChatError("bad_frame", "Attachments are not taken here. Send text only.", field="messages")
    check_prompt(last.text, settings.CHAT_PROMPT_CHARS)


def _said(messages: Iterable[Message]) -> Iterable[Said]:
    """What a user may say by himself. Tool results and approvals answer a question: none was asked.

    A prompt that was refused stays in its client's history: whoever refused that again would end the chat for good.
    """
    for message in messages:
        text = message.text
        if "\0" in text:
            continue
        if message.role == "user" and text.strip() and len(text) <= settings.CHAT_PROMPT_CHARS:
            yield Said("user", text)
        elif message.role == "assistant":
            yield Said("assistant", text, as_id(message.id or ""))


def _system(messages: Iterable[Message]) -> str | None:
    told = "\n\n".join(message.text for message in messages if message.role == "system").replace("\0", "")
    if len(told) > SYSTEM_CHARS:
        raise ChatError("too_large", f"System messages may hold {SYSTEM_CHARS:,} characters.", field="messages")
    return told or None


def _key(body: Body, turn: ClientTurn) -> str | None:
    """Of a chat session that has a name, and messages that have ids. Alone a prompt has one for all its answers."""
    ids = [message.id for message in body.said if message.role == "user"]
    if body.id is None or not all(ids):
        return None
    trigger = None if turn.appends else body.trigger
    asked = msgspec.json.encode([ids, trigger, msgspec.structs.replace(turn, once=False)])
    return KEY + hashlib.sha256(asked).hexdigest()[:40]
