"""Files of exports, written and read through an engine."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import msgspec

from chat.protocol.exchange import FiledSession
from chat.runs import export, importing
from chat.runs.engine import Engine
from chat.runs.importing import Report
from chat.runs.owner import Owner


async def whole(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


async def exported(engine: Engine, owner: Owner) -> list[FiledSession]:
    file = json.loads(await whole(export.as_json(engine, owner)))
    assert (file["format"], file["version"]) == ("tokenwire", 1)
    return [msgspec.convert(session, FiledSession) for session in file["sessions"]]


async def imported(engine: Engine, owner: Owner, data: Any) -> Report:
    return await importing.import_file(engine, owner, data if isinstance(data, bytes) else json.dumps(data).encode())


def shape(session: FiledSession) -> Any:
    """All that a chat session is but its ids: messages by their place in the tree."""
    places: dict[UUID | None, tuple[int, ...]] = {None: ()}
    children: dict[UUID | None, int] = {}
    messages = []
    for message in session.messages:
        number = children[message.parent] = children.get(message.parent, 0) + 1
        place = places[message.id] = (*places[message.parent], number)
        messages.append((place, message.role, message.status, message.parts, message.model, message.created))
    about = (session.title, session.model, session.system, session.archived, session.created, session.updated)
    return about, sorted(messages, key=lambda each: each[0]), places[session.active] if session.active else None
