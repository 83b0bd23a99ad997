from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from ninja import Field, Query, Router, Schema, Status

from chat.api.body import Line, Text
from chat.api.request import ApiRequest
from chat.models import ChatSession
from chat.runs import sessions
from chat.runs.sessions import Changes

router = Router(tags=["chat sessions"])

Title = Annotated[Line, Field(max_length=200)]
Model = Annotated[Text, Field(max_length=200, description="Empty: the default model.")]
System = Annotated[Text, Field(max_length=32_000, description="A system prompt of its own. Empty: the server's.")]


SHOWN = {"active": False, "archived": True, "all": None}


class Listed(Schema):
    id: UUID
    title: str
    model: str
    active: UUID | None = Field(description="The message at the end of the active branch.")
    archived: bool
    created: datetime
    updated: datetime

    @staticmethod
    def resolve_active(session: ChatSession) -> UUID | None:
        return session.active_leaf_id


class Session(Listed):
    system: str

    @staticmethod
    def resolve_system(session: ChatSession) -> str:
        return session.system_prompt


class Opened(Schema):
    session: Session
    runs: list[UUID] = Field(description="Those that are not ended, oldest first.")


class SessionPage(Schema):
    sessions: list[Listed]
    next: str | None


class NewSession(Schema):
    title: Title = ""
    model: Model = ""
    system: System = ""


class SessionChanges(Schema):
    """What is left out, or null, stays as it is. A `title` of "" is none: its first prompt may give one."""

    title: Title | None = None
    model: Model | None = None
    system: System | None = None
    archived: bool | None = None


class Branch(Schema):
    message: UUID


class Active(Schema):
    active: UUID = Field(description="The newest leaf of the branch through the message.")


@router.get("", response=SessionPage, summary="Those of the caller, newest activity first")
async def list_sessions(
    request: ApiRequest,
    state: Literal["active", "archived", "all"] = "active",
    cursor: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> dict[str, Any]:
    found, following = await request.desk.engine.read(
        sessions.listed, request.auth.owner, archived=SHOWN[state], cursor=cursor, most=limit
    )
    return {"sessions": found, "next": following}


@router.post("", response={201: Session}, summary="A new one, without a prompt yet")
async def create_session(request: ApiRequest, asked: NewSession) -> Status[ChatSession]:
    changes = Changes(title=asked.title or None, model=asked.model, system=asked.system)
    return Status(201, await sessions.create(request.desk.engine, request.auth.owner, changes))


@router.get("/{uuid:session}", response=Opened, summary="One, and its runs under way")
async def read_session(request: ApiRequest, session: UUID) -> dict[str, Any]:
    found, runs = await request.desk.engine.read(sessions.opened, request.auth.owner, session)
    return {"session": found, "runs": runs}


@router.patch("/{uuid:session}", response=Session, summary="Rename, archive, choose a model")
async def change_session(request: ApiRequest, session: UUID, asked: SessionChanges) -> ChatSession:
    return await sessions.change(request.desk.engine, request.auth.owner, session, Changes(**asked.model_dump()))


@router.delete("/{uuid:session}", response={204: None}, summary="Delete it and all that is in it")
async def delete_session(request: ApiRequest, session: UUID) -> Status[None]:
    await sessions.delete(request.desk.engine, request.auth.owner, session)
    return Status(204, None)


@router.post("/{uuid:session}/branch", response=Active, summary="Make the branch through a message the active one")
async def select_branch(request: ApiRequest, session: UUID, asked: Branch) -> Active:
    leaf = await request.desk.engine.select_branch(request.auth.owner, session, asked.message)
    return Active(active=UUID(leaf))
