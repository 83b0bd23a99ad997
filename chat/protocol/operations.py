"""What a client may ask for. One struct an operation, told apart by `type`; unknown fields are ignored."""

from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from chat.protocol.events import MOST_SEQ

Seq = Annotated[int, Meta(ge=0, le=MOST_SEQ)]
Id = Annotated[str, Meta(min_length=1, max_length=64)]


class Options(Struct, frozen=True, omit_defaults=True):
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    max_output_tokens: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    system: Annotated[str, Meta(max_length=32_000)] | None = None
    tools: list[str] | None = None


class Operation(Struct, frozen=True, kw_only=True, tag_field="type"):
    id: Id | None = None


class PromptSend(Operation, frozen=True, kw_only=True, tag="prompt.send"):
    text: str
    session: UUID | None = None
    # Left out: the end of the active branch. null: a first prompt.
    parent: UUID | None | UnsetType = UNSET
    model: str | None = None
    attachments: Annotated[list[UUID], Meta(max_length=0)] = msgspec.field(default_factory=list)
    options: Options = Options()


class MessageRegenerate(Operation, frozen=True, kw_only=True, tag="message.regenerate"):
    message: UUID
    model: str | None = None
    options: Options = Options()


class RunFollow(Operation, frozen=True, kw_only=True, tag="run.follow"):
    run: UUID
    after: Seq = 0


class RunUnfollow(Operation, frozen=True, kw_only=True, tag="run.unfollow"):
    run: UUID


class RunStop(Operation, frozen=True, kw_only=True, tag="run.stop"):
    run: UUID


class SessionOpen(Operation, frozen=True, kw_only=True, tag="session.open"):
    session: UUID
    before: UUID | None = None  # the `more` cursor of an earlier page


class SessionClose(Operation, frozen=True, kw_only=True, tag="session.close"):
    session: UUID


class BranchSelect(Operation, frozen=True, kw_only=True, tag="branch.select"):
    session: UUID
    message: UUID


class Ack(Operation, frozen=True, kw_only=True, tag="ack"):
    run: UUID
    seq: Seq


class Ping(Operation, frozen=True, kw_only=True, tag="ping"):
    pass


AnyOperation = (
    PromptSend
    | MessageRegenerate
    | RunFollow
    | RunUnfollow
    | RunStop
    | SessionOpen
    | SessionClose
    | BranchSelect
    | Ack
    | Ping
)

# Not for whoever may only read.
CHANGING = (PromptSend, MessageRegenerate, RunStop, BranchSelect)
