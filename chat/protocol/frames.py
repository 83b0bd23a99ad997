"""Replies and notices of the server: frames without a seq. Events of runs are in events.py."""

from typing import Any

import msgspec
from msgspec import Struct

from chat.protocol.errors import ChatError
from chat.protocol.events import Part


class Frame(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    re: str | None = None


class User(Struct, frozen=True):
    name: str
    guest: bool


class Model(Struct, frozen=True, kw_only=True):
    id: str
    label: str
    default: bool
    capabilities: list[str]


class Limits(Struct, frozen=True, kw_only=True):
    frame_bytes: int
    prompt_chars: int
    runs: int
    prompts_per_minute: int
    operations_per_second: int
    unacknowledged_bytes: int


class Hello(Struct, frozen=True, kw_only=True, tag_field="type", tag="hello"):
    protocol: int
    user: User
    models: list[Model]
    limits: Limits
    demo: bool  # true: no model is set, an offline demo answers


class RunAccepted(Frame, frozen=True, kw_only=True, tag="run.accepted"):
    session: str
    user_message: str
    message: str
    run: str
    repeat: bool = False


class Ok(Frame, frozen=True, kw_only=True, tag="ok"):
    pass


class Pong(Frame, frozen=True, kw_only=True, tag="pong"):
    pass


class Error(Frame, frozen=True, kw_only=True, tag="error"):
    code: str
    message: str
    # No default, so that it is always sent.
    retryable: bool
    field: str | None = None
    top: int | None = None
    retry_after_s: float | None = None

    @classmethod
    def of(cls, error: ChatError, re: str | None = None) -> "Error":
        return cls(
            re=re,
            code=error.code,
            message=error.message,
            retryable=error.retryable,
            field=error.field,
            top=error.top,
            retry_after_s=error.retry_after_s,
        )


class Snapshot(Struct, frozen=True, kw_only=True, tag_field="type", tag="run.snapshot"):
    """Everything of a run as of `seq`; events from seq + 1 follow."""

    run: str
    seq: int
    message: str
    status: str
    attempt: int
    parts: list[Part]
    text: str


class MessageState(Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    role: str
    parent: str | None
    siblings: list[str]
    parts: list[Part]
    text: str
    status: str
    created: str
    run: str | None = None
    model: str | None = None
    usage: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


class SessionInfo(Struct, frozen=True, kw_only=True):
    id: str
    title: str
    model: str
    system: str
    active: str | None
    archived: bool
    created: str
    updated: str


class SessionState(Frame, frozen=True, kw_only=True, tag="session.state"):
    session: SessionInfo
    messages: list[MessageState]
    more: str | None  # pass it as `before` to session.open for the page before
    runs: list[Snapshot]


class SessionChanged(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", tag="session.changed"):
    session: str
    title: str | None = None
    active: str | None = None
    updated: str | None = None
    archived: bool | None = None
    deleted: bool = False


_encode = msgspec.json.Encoder().encode


def encode(frame: Struct) -> str:
    return _encode(frame).decode()
