from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from django.http import HttpResponse
from ninja import Field, Query, Router, Schema

from chat.api.body import answer, encoded
from chat.api.request import ApiRequest
from chat.runs import history
from chat.runs.owner import Owner

router = Router(tags=["messages"])


class Usage(Schema):
    input_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    cost_usd: float | None
    estimated: bool


class Failure(Schema):
    code: str
    message: str
    retryable: bool


class Message(Schema):
    """As in `session.state` of the WebSocket: a message that streams shows what is stored of it by now."""

    id: UUID
    role: Literal["user", "assistant"]
    parent: UUID | None
    siblings: list[UUID] = Field(description="All messages with the same parent, oldest first.")
    parts: list[dict[str, Any]]
    text: str = Field(description="The text parts joined.")
    status: Literal["done", "streaming", "stopped", "failed"]
    created: datetime
    run: UUID | None = None
    model: str | None = None
    usage: Usage | None = None
    error: Failure | None = None


class MessagePage(Schema):
    messages: list[Message]
    more: UUID | None = Field(description="Pass it as `before` for the page before.")


@router.get("/sessions/{uuid:session}/messages", response=MessagePage, summary="A branch, oldest first")
async def list_messages(
    request: ApiRequest,
    session: UUID,
    before: UUID | None = None,
    branch: Annotated[UUID | None, Query(description="A message on another branch than the active one.")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = history.PAGE,
) -> HttpResponse:
    page = await request.desk.engine.read(_page, request.auth.owner, session, before, branch, limit)
    return answer(page)


@router.get("/messages/{uuid:message}", response=Message, summary="One, with its siblings")
async def read_message(request: ApiRequest, message: UUID) -> HttpResponse:
    return answer(await request.desk.engine.read(_one, request.auth.owner, message))


def _page(owner: Owner, session: UUID, before: UUID | None, branch: UUID | None, limit: int) -> bytes:
    found = owner.session(session)
    if branch is None:
        messages, more = history.branch(found, before, limit)
    else:
        messages, more = history.branch_through(found, branch, before, limit)
    return encoded({"messages": messages, "more": more})


def _one(owner: Owner, message: UUID) -> bytes:
    return encoded(history.message(owner, message))
