"""Writes chat sessions into a file, piece by piece: whatever there is of them, a page is all that is held of it."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

import msgspec
from django.conf import settings

from chat.models import ChatSession, Message
from chat.protocol.errors import ChatError
from chat.protocol.exchange import FORMAT, VERSION, FiledMessage, SessionHead
from chat.runs import tree
from chat.runs.engine import Engine
from chat.runs.follow import snapshot
from chat.runs.owner import Owner

P = ParamSpec("P")
T = TypeVar("T")

SESSIONS = 100  # ids of them, read at once
FIRST_PAGE, MOST_MESSAGES = 8, 200
PAGE_CHARS = 256 * 1024
RETRY_SECONDS = 1.0
NAME_CHARS = 60

_SPEAKERS = {Message.Role.USER: "User", Message.Role.ASSISTANT: "Assistant"}
_NOTES = {
    Message.Status.STOPPED: "stopped",
    Message.Status.FAILED: "failed",
    Message.Status.STREAMING: "still being written",
}


async def as_json(engine: Engine, owner: Owner, session: UUID | None = None) -> AsyncIterator[bytes]:
    """All chat sessions of the owner, or one: whole trees, parents before children."""
    head = {"format": FORMAT, "version": VERSION, "exported": datetime.now(UTC)}
    yield msgspec.json.encode(head)[:-1] + b',"sessions":['
    between = b"\n"
    async for each in _sessions(engine, owner, session):
        yield between + msgspec.json.encode(_head(each))[:-1] + b',"messages":['
        between = b"\n"
        async for page in _pages(engine, each.id):
            yield between + b",\n".join(msgspec.json.encode(_filed(message)) for message in page)
            between = b",\n"
        yield b"]}"
        between = b",\n"
    yield b"]}\n"


async def as_markdown(engine: Engine, owner: Owner, session: UUID | None = None) -> AsyncIterator[bytes]:
    """Of each chat session the active branch."""
    between = ""
    async for each in _sessions(engine, owner, session):
        yield (between + _heading(each)).encode()
        between = "\n---\n\n"
        branch = await _read(engine, _branch, each.active_leaf_id)
        async for page in _pages(engine, each.id, branch):
            yield "".join(map(_spoken, page)).encode()


def file_name(ending: str, title: str | None = None) -> str:
    """Of letters, digits and dashes; `title` of the only chat session in it."""
    words = re.findall(r"[^\W_]+", title or "")
    name = "-".join(words)[:NAME_CHARS].strip("-") or ("chat" if title is not None else "chats")
    return f"{name}-{datetime.now(UTC):%Y-%m-%d}.{ending}"


# Reading --------------------------------------------------------------------------------------------------------------


async def _sessions(engine: Engine, owner: Owner, only: UUID | None) -> AsyncIterator[ChatSession]:
    if only is not None:
        yield await _read(engine, owner.session, only)
        return
    after: UUID | None = None
    while page := await _read(engine, _session_page, owner, after):
        for session in page:
            yield session
        after = page[-1].id


def _session_page(owner: Owner, after: UUID | None) -> list[ChatSession]:
    rows = owner.sessions().order_by("id")
    return list((rows if after is None else rows.filter(id__gt=after))[:SESSIONS])


async def _pages(
    engine: Engine, session: UUID, branch: Sequence[UUID] | None = None
) -> AsyncIterator[Sequence[Message]]:
    """All messages of the chat session, or those of the branch, in pages that are the shorter the longer they are."""
    most, read, after = FIRST_PAGE, 0, None
    while True:
        if branch is None:
            page = await _read(engine, _page, session, after, most)
        else:
            page = await _read(engine, _page_of, branch[read : read + most])
            read += most
        if page:
            yield page
            after = page[-1].id
            size = sum(len(part["text"]) for message in page for part in message.parts if "text" in part) // len(page)
            most = min(MOST_MESSAGES, max(1, PAGE_CHARS // max(1, size)))
        if not page if branch is None else read >= len(branch):
            return


def _page(session: UUID, after: UUID | None, most: int) -> list[Message]:
    rows = Message.objects.filter(session=session).select_related("run").order_by("id")
    return _complete((rows if after is None else rows.filter(id__gt=after))[:most])


def _page_of(ids: Sequence[UUID]) -> list[Message]:
    found = {message.id: message for message in Message.objects.filter(id__in=ids).select_related("run")}
    return _complete(found[id_] for id_ in ids if id_ in found)


def _complete(messages: Any) -> list[Message]:
    """What streams is exported as far as it is."""
    complete = list(messages)
    for message in complete:
        run = getattr(message, "run", None)
        if message.status == Message.Status.STREAMING and run is not None:
            message.parts = snapshot(run.id).parts
    return complete


def _branch(leaf: UUID | None) -> list[UUID]:
    return tree.path(leaf)[::-1] if leaf else []


async def _read(engine: Engine, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """A file that was begun cannot tell of an error any more: a moment without a database is waited for."""
    give_up = time.monotonic() + settings.CHAT_STORAGE_TIMEOUT
    while True:
        try:
            return await engine.read(function, *args, **kwargs)
        except ChatError as error:
            if error.code != "unavailable" or time.monotonic() > give_up:
                raise
        await asyncio.sleep(RETRY_SECONDS)


# Writing --------------------------------------------------------------------------------------------------------------


def _head(session: ChatSession) -> SessionHead:
    return SessionHead(
        id=session.id,
        title=session.title,
        model=session.model,
        system=session.system_prompt,
        archived=session.archived,
        active=session.active_leaf_id,
        created=session.created,
        updated=session.updated,
    )


def _filed(message: Message) -> FiledMessage:
    return FiledMessage(
        id=message.id,
        parent=message.parent_id,
        role=message.role,  # type: ignore[arg-type]
        status=message.status,  # type: ignore[arg-type]
        parts=message.parts,
        model=message.model,
        created=message.created,
    )


def _heading(session: ChatSession) -> str:
    return f"# {' '.join(session.title.split()) or 'Untitled'}\n\n{session.created:%Y-%m-%d %H:%M} UTC\n"


def _spoken(message: Message) -> str:
    speaker = _SPEAKERS[Message.Role(message.role)]
    about = [each for each in (message.model, _NOTES.get(Message.Status(message.status))) if each]
    text = "".join(part["text"] for part in message.parts if part["type"] == "text")
    aside = f" ({', '.join(about)})" if about else ""
    return f"\n## {speaker}{aside}\n\n{text.rstrip()}\n"
