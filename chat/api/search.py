from typing import Any
from uuid import UUID

from ninja import Field, Router, Schema

from chat.api.request import ApiRequest
from chat.runs import search

router = Router(tags=["search"])


class Hit(Schema):
    session: UUID
    title: str
    message: UUID | None = Field(description="Null: the title has the words.")
    role: str | None
    created: str
    snippet: str = Field(description="Plain text on one line. Escape it as any text before it is shown as HTML.")
    matches: list[tuple[int, int]] = Field(description="From and to in `snippet`, in Unicode code points.")


class Hits(Schema):
    hits: list[Hit]
    next: str | None = Field(description="The `cursor` of the next page.")


@router.get("", response=Hits, summary="Titles and messages of one's own that have these words")
async def find(request: ApiRequest, q: str, cursor: str | None = None) -> dict[str, Any]:
    """All words of `q` must be there, in any order; the last one may be the beginning of a word."""
    hits, after = await request.desk.engine.read(search.find, request.auth.owner, q, cursor)
    return {"hits": [hit._asdict() for hit in hits], "next": after}
