import asyncio
from collections.abc import AsyncIterator
from typing import Any, Literal
from uuid import UUID

from django.http import StreamingHttpResponse
from django.utils.http import content_disposition_header
from ninja import Field, Router, Schema

from chat.api.request import ApiRequest
from chat.protocol.errors import ChatError
from chat.runs import export, importing

router = Router(tags=["export and import"])

Format = Literal["json", "markdown"]
_ENDINGS = {"json": "json", "markdown": "md"}
_TYPES = {"json": "application/json", "markdown": "text/markdown; charset=utf-8"}
_SENT = {"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}}
_FILE = {"responses": {200: {"description": "A file", "content": {"application/json": {}, "text/markdown": {}}}}}


@router.get("/export", summary="All chat sessions as a file", openapi_extra=_FILE)
async def export_all(request: ApiRequest, format: Format = "json") -> StreamingHttpResponse:  # noqa: A002
    return _file(request, format, None, export.file_name(_ENDINGS[format]))


@router.get("/sessions/{uuid:session}/export", summary="One chat session as a file", openapi_extra=_FILE)
async def export_one(request: ApiRequest, session: UUID, format: Format = "json") -> StreamingHttpResponse:  # noqa: A002
    found = await request.desk.engine.read(request.auth.owner.session, session)
    return _file(request, format, session, export.file_name(_ENDINGS[format], found.title))


def _file(request: ApiRequest, format_: Format, session: UUID | None, name: str) -> StreamingHttpResponse:
    write = export.as_json if format_ == "json" else export.as_markdown
    content: AsyncIterator[bytes] = write(request.desk.engine, request.auth.owner, session)
    response = StreamingHttpResponse(content, content_type=_TYPES[format_])
    response["Content-Disposition"] = content_disposition_header(True, name)
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"
    return response


class Skipped(Schema):
    title: str
    reason: str


class Report(Schema):
    imported: int
    unchanged: int = Field(description="Imported before, with the same messages.")
    skipped: list[Skipped]


@router.post(
    "/import", response=Report, summary="Chat sessions from an export of ours or of ChatGPT's", openapi_extra=_SENT
)
async def import_(request: ApiRequest) -> dict[str, Any]:
    """The body is the file itself: JSON, 64 MiB at most."""
    engine = request.desk.engine
    # Django keeps what is long in a file.
    data = await asyncio.to_thread(request.read, importing.MOST_BYTES + 1)
    if len(data) > importing.MOST_BYTES:
        raise ChatError("too_large", "The file is longer than 64 MiB. Split it.")
    report = await importing.import_file(engine, request.auth.owner, data)
    return {**report._asdict(), "skipped": [skipped._asdict() for skipped in report.skipped]}
