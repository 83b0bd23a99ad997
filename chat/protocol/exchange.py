"""The file that an export is and an import takes: chat sessions, whole trees. docs/protocol.md describes it."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import Meta, Struct

FORMAT, VERSION = "tokenwire", 1


class FileHead(Struct, frozen=True):
    format: str
    version: int
    exported: datetime | None = None


class FiledMessage(Struct, frozen=True, kw_only=True):
    id: UUID
    parent: UUID | None
    role: Literal["user", "assistant"]
    status: Literal["done", "stopped", "failed", "streaming"] = "done"
    parts: list[dict[str, Any]]
    model: Annotated[str, Meta(max_length=200)] = ""
    created: datetime


class SessionHead(Struct, frozen=True, kw_only=True):
    id: UUID
    title: Annotated[str, Meta(max_length=200)] = ""
    model: Annotated[str, Meta(max_length=200)] = ""
    system: Annotated[str, Meta(max_length=100_000)] = ""
    archived: bool = False
    active: UUID | None = None  # the message at the end of the active branch
    created: datetime
    updated: datetime


class FiledSession(SessionHead, frozen=True, kw_only=True):
    messages: list[FiledMessage]
