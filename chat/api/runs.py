from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from ninja import Field, Query, Router, Schema

from chat.api.messages import Failure, Usage
from chat.api.request import ApiRequest
from chat.models import Run as StoredRun
from chat.runs import history, paging
from chat.runs.owner import Owner

router = Router(tags=["runs"])


class Run(Schema):
    id: UUID
    session: UUID
    message: UUID
    model: str
    status: Literal["queued", "running", "completed", "stopped", "failed"]
    attempt: int
    created: datetime
    started: datetime | None
    ended: datetime | None
    first_token_ms: int | None
    total_ms: int | None
    finish_reason: str = Field(description="Empty unless it completed.")
    retries: int = Field(description="Refused calls of the model's server before the first token.")
    usage: Usage | None
    error: Failure | None

    @staticmethod
    def resolve_session(run: StoredRun) -> UUID:
        return run.session_id

    @staticmethod
    def resolve_message(run: StoredRun) -> UUID:
        return run.message_id

    @staticmethod
    def resolve_usage(run: StoredRun) -> dict[str, Any] | None:
        return history.usage(run)

    @staticmethod
    def resolve_error(run: StoredRun) -> dict[str, Any] | None:
        return history.error(run)


class RunPage(Schema):
    runs: list[Run]
    next: str | None


@router.get("/runs/{uuid:run}", response=Run, summary="One: status, timing, usage, error")
async def read_run(request: ApiRequest, run: UUID) -> StoredRun:
    return await request.desk.engine.read(request.auth.owner.run, run)


@router.get("/sessions/{uuid:session}/runs", response=RunPage, summary="Those of a chat session, newest first")
async def list_runs(
    request: ApiRequest,
    session: UUID,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> dict[str, Any]:
    found, following = await request.desk.engine.read(_page, request.auth.owner, session, cursor, limit)
    return {"runs": found, "next": following}


def _page(owner: Owner, session: UUID, cursor: str | None, limit: int) -> tuple[list[StoredRun], str | None]:
    rows = StoredRun.objects.filter(session=owner.session(session)).defer("options", "error_detail")
    return paging.page(rows, "created", cursor, limit)
