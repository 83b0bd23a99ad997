"""Imports the chat sessions of a file: reads it conversation by conversation, beside the loop, and has them stored.

The engine's writer gets them in small transactions (chat/runs/import_store.py), between which streams go on.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from chat.protocol.errors import ChatError
from chat.protocol.exchange import FORMAT, VERSION, FiledSession, FileHead
from chat.runs import chatgpt, conversations, import_store, json_items
from chat.runs.conversations import Conversation, Unfit
from chat.runs.engine import Engine
from chat.runs.json_items import Span
from chat.runs.owner import Owner

T = TypeVar("T")

MOST_BYTES = 64 * 1024**2
MOST_SESSIONS = 10_000
MOST_SESSION_BYTES = 16 * 1024**2  # decoded at once, which holds up everything else of this process for so long
MOST_HEAD_BYTES = 64 * 1024  # of what is around the conversations
_UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeError)

# Every guest without a cookie is another owner, and a file may keep a core busy for a minute.
MOST_AT_ONCE = 2
_importing: set[Owner] = set()


class Skipped(NamedTuple):
    title: str
    reason: str


class Report(NamedTuple):
    imported: int
    unchanged: int
    skipped: list[Skipped]


async def import_file(engine: Engine, owner: Owner, data: bytes) -> Report:
    """Raises ChatError: bad_json, bad_frame, too_large, busy, unavailable. What was imported until then stays."""
    if owner in _importing:
        raise ChatError("busy", "An import of yours is still running. Wait for its end.", retry_after_s=5)
    if len(_importing) >= MOST_AT_ONCE:
        raise ChatError("busy", "Others are importing right now. Try it again in a moment.", retry_after_s=5)
    _importing.add(owner)
    try:
        return await _import(engine, owner, data)
    finally:
        _importing.discard(owner)


async def _import(engine: Engine, owner: Owner, data: bytes) -> Report:
    spans, ours = await asyncio.to_thread(_take_apart, data)
    await engine.write(import_store.clear_away)
    report = Report(0, 0, [])
    async for batch, unfit in _read(data, spans, ours):
        if len(batch) == 1 and import_store.is_long(batch[0]):
            outcomes = [await import_store.store_long(engine, owner, batch[0])]
        else:
            outcomes = await engine.write(import_store.store, owner, batch) if batch else []
        skipped = [Skipped(each.title, str(outcome)) for each, outcome in zip(batch, outcomes, strict=True) if outcome]
        report = Report(
            report.imported + outcomes.count(None),
            report.unchanged + outcomes.count(import_store.UNCHANGED),
            report.skipped + unfit + [each for each in skipped if each.reason != import_store.UNCHANGED],
        )
        await asyncio.sleep(import_store.PAUSE_SECONDS)
    return report


# Reading the file -----------------------------------------------------------------------------------------------------


def _take_apart(data: bytes) -> tuple[list[Span], bool]:
    """Where its conversations lie, and whether it is a file of ours."""
    spans, around = json_items.split(data, "sessions", MOST_SESSIONS)
    if around.lstrip()[:1] == b"[":
        _decode_or_refuse(around, list)
        return spans, False
    head = _decode_or_refuse(around, FileHead)
    if head.format != FORMAT or head.version != VERSION:
        raise ChatError("bad_frame", f"Only version {VERSION} of the format {FORMAT} is known here.", field="version")
    return spans, True


def _decode_or_refuse(data: bytes, kind: type[T]) -> T:
    foreign = ChatError(
        "bad_frame", "This is neither an export of ours nor ChatGPT's conversations.json.", field="format"
    )
    if len(data) > MOST_HEAD_BYTES:
        raise foreign
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError:
        raise foreign from None
    except _UNREADABLE:
        raise ChatError("bad_json", "The file is not JSON.") from None


async def _read(
    data: bytes, spans: Sequence[Span], ours: bool
) -> AsyncIterator[tuple[list[Conversation], list[Skipped]]]:
    """As many conversations as one transaction takes, or one that is longer; and those of them that are unfit."""
    for group in _groups(spans):
        read = await asyncio.to_thread(_convert, data, group, ours)
        fit = [each for each in read if isinstance(each, Conversation)]
        unfit = [each for each in read if isinstance(each, Skipped)]
        yield [each for each in fit if not import_store.is_long(each)], unfit
        for long in filter(import_store.is_long, fit):
            yield [long], []


def _groups(spans: Sequence[Span]) -> Iterable[list[Span]]:
    group: list[Span] = []
    for span in spans:
        if group and span[1] - group[0][0] > import_store.BATCH_BYTES:
            yield group
            group = []
        group.append(span)
    if group:
        yield group


def _convert(data: bytes, spans: Sequence[Span], ours: bool) -> list[Conversation | Skipped]:
    return [_converted(data[start:end], ours) for start, end in spans]


def _converted(raw: bytes, ours: bool) -> Conversation | Skipped:
    if len(raw) > MOST_SESSION_BYTES:
        return Skipped("", f"It has more than {MOST_SESSION_BYTES // 1024**2} MiB.")
    try:
        if ours:
            return conversations.of_ours(msgspec.json.decode(raw, type=FiledSession))
        return chatgpt.of_chatgpt(msgspec.json.decode(raw, type=chatgpt.Filed), raw)
    except Unfit as unfit:
        return Skipped(_title_of(raw), str(unfit))
    except msgspec.ValidationError as error:
        return Skipped(_title_of(raw), f"It is not of the form that it should have: {error}."[:300])
    except _UNREADABLE:
        return Skipped("", "It is not JSON.")


class _Titled(msgspec.Struct):
    title: str = ""


def _title_of(raw: bytes) -> str:
    try:
        return msgspec.json.decode(raw, type=_Titled).title[: conversations.TITLE_CHARS]
    except _UNREADABLE:
        return ""
