"""A prompt that comes over HTTP: in the body of a POST, or in the query of the GET that EventSource makes."""

from typing import Annotated
from uuid import UUID

import msgspec
from django.conf import settings
from django.http import HttpRequest
from msgspec import UNSET, Meta, Struct, UnsetType

from chat.protocol import codec
from chat.protocol.errors import ChatError
from chat.protocol.faults import bad_value
from chat.protocol.frames import RunAccepted
from chat.protocol.operations import Id, Options, PromptSend
from chat.runs import start
from chat.transports.access import Visitor
from chat.transports.desk import Desk
from chat.transports.http import decode_body, query_of
from chat.transports.streaming import Stream, check_room, open_stream


class Query(Struct, frozen=True, kw_only=True):
    """The fields are those of `prompt.send`, which has the prompt as `text`."""

    prompt: str
    session: UUID | None = None
    parent: UUID | None | UnsetType = UNSET
    model: str | None = None
    id: Id | None = None


class Body(Query, frozen=True, kw_only=True):
    options: Options = Options()
    attachments: Annotated[list[UUID], Meta(max_length=0)] = msgspec.field(default_factory=list)


def asked_by(request: HttpRequest) -> PromptSend:
    """Raises ChatError: bad_json, bad_frame, too_large."""
    asked = _of_query(request) if request.method == "GET" else decode_body(request, Body)
    codec.check_prompt(asked.prompt, settings.CHAT_PROMPT_CHARS, field="prompt")
    prompt = PromptSend(
        id=asked.id,
        text=asked.prompt,
        session=asked.session,
        parent=asked.parent,
        model=asked.model,
        options=asked.options if isinstance(asked, Body) else Options(),
    )
    codec.refuse_nul(prompt)
    return prompt


def _of_query(request: HttpRequest) -> Query:
    try:
        return msgspec.convert(query_of(request), Query, strict=False)
    except msgspec.ValidationError as error:
        raise bad_value(str(error), "this call") from None


async def answer(at: Desk, visitor: Visitor, asked: PromptSend) -> tuple[RunAccepted, Stream]:
    """Start the run that answers, and follow it from its beginning. Raises ChatError."""
    check_room(at, visitor)
    accepted = await at.engine.start(visitor.owner, asked)
    # Not with `open_stream`, which looks for room: there was some, and now the answer is being written and paid.
    follower = await at.engine.follow(visitor.owner, accepted.run, queued=accepted.queued)
    return accepted.frame(asked.id), Stream(at.hub, visitor, follower)


async def join(at: Desk, visitor: Visitor, asked: PromptSend) -> tuple[RunAccepted, Stream] | None:
    """The run that this very prompt of theirs started a moment ago, if it is still being written. Raises ChatError."""
    accepted = await at.engine.read(start.under_way, visitor.owner, asked)
    if accepted is None:
        return None
    return accepted.frame(asked.id), await open_stream(at, visitor, accepted.run)


def run_id(text: str) -> UUID:
    """Raises ChatError: not_found, as for a run that is somebody else's."""
    try:
        return UUID(text)
    except ValueError:
        raise ChatError("not_found", "There is no such run, or it is not yours.") from None
