"""Stores the chat sessions of a file, each wholly or not at all, and none twice.

The engine's writer gets them in small transactions, between which streams go on. What does not fit into one is built up
as the chat session of nobody (a guest with a name that no guest has) and given to its owner when it is complete.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import NamedTuple, TypeVar
from uuid import UUID, uuid4

import msgspec
from django.db import transaction

from chat.models import ChatSession, Message
from chat.models.ids import new_id
from chat.models.prepared import Insert
from chat.protocol.answer import text_of
from chat.protocol.errors import ChatError
from chat.protocol.exchange import FORMAT, VERSION, FiledSession, FileHead
from chat.runs import chatgpt, conversations, json_items
from chat.runs.conversations import Conversation, Unfit
from chat.runs.engine import Engine
from chat.runs.json_items import Span
from chat.runs.owner import Owner

T = TypeVar("T")

MOST_BYTES = 64 * 1024**2
MOST_SESSIONS = 10_000
# What one transaction stores at most: about 10 ms on SQLite. One conversation that is longer goes in several.
BATCH_MESSAGES, BATCH_BYTES = 100, 256 * 1024
PAUSE_SECONDS = 0.005
ROWS = 20

NOBODY = "import:"
LEFT_SECONDS = 3600  # after which what nobody owns was left by a process that died

_NEW_SESSION = Insert(ChatSession, raw=True)
_NEW_MESSAGE, _NEW_MESSAGES = Insert(Message, raw=True), Insert(Message, rows=ROWS, raw=True)
_UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeError)

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
    _importing.add(owner)
    try:
        return await _import(engine, owner, data)
    finally:
        _importing.discard(owner)


async def _import(engine: Engine, owner: Owner, data: bytes) -> Report:
    spans, ours = await asyncio.to_thread(_take_apart, data)
    await engine.write(_clear_away)
    report = Report(0, 0, [])
    async for batch, unfit in _read(data, spans, ours):
        if len(batch) == 1 and len(batch[0].nodes) > BATCH_MESSAGES:
            outcomes = [await _store_long(engine, owner, batch[0])]
        else:
            outcomes = await engine.write(_store, owner, batch)
        skipped = [Skipped(each.title, str(outcome)) for each, outcome in zip(batch, outcomes, strict=True) if outcome]
        report = Report(
            report.imported + outcomes.count(None),
            report.unchanged + outcomes.count(_UNCHANGED),
            report.skipped + unfit + [each for each in skipped if each.reason != _UNCHANGED],
        )
        await asyncio.sleep(PAUSE_SECONDS)
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
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError:
        raise ChatError(
            "bad_frame", "This is neither an export of ours nor ChatGPT's conversations.json.", field="format"
        ) from None
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
        short = [each for each in fit if len(each.nodes) <= BATCH_MESSAGES]
        yield short, unfit
        for long in fit:
            if len(long.nodes) > BATCH_MESSAGES:
                yield [long], []


def _groups(spans: Sequence[Span]) -> Iterable[list[Span]]:
    group: list[Span] = []
    for span in spans:
        if group and span[1] - group[0][0] > BATCH_BYTES:
            yield group
            group = []
        group.append(span)
    if group:
        yield group


def _convert(data: bytes, spans: Sequence[Span], ours: bool) -> list[Conversation | Skipped]:
    return [_converted(data[start:end], ours) for start, end in spans]


def _converted(raw: bytes, ours: bool) -> Conversation | Skipped:
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


# Storing --------------------------------------------------------------------------------------------------------------

_UNCHANGED = "unchanged"
_CHANGED = "It was imported before and has changed since. Delete that chat session to import it anew."

Outcome = str | None  # None: it is stored; else why not


def _store(owner: Owner, batch: Sequence[Conversation]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for each in batch:
        known = _known(owner, each)
        if known is None:
            _store_whole(owner, each)
        outcomes.append(known)
    return outcomes


def _known(owner: Owner, found: Conversation) -> Outcome:
    same = owner.sessions().filter(import_key=found.key).values_list("import_digest", flat=True).first()
    if same is not None:
        return _UNCHANGED if same == found.digest else _CHANGED
    kind, _, name = found.source.partition(":")
    if kind == FORMAT and owner.sessions().filter(id=UUID(name)).exists():
        return _UNCHANGED  # it is the very one that was exported
    return None


def _store_whole(owner: Owner, found: Conversation) -> None:
    with transaction.atomic():
        session, messages = _rows(found)
        session.owner_id, session.guest = owner.user, owner.guest
        _NEW_SESSION.run(session)
        _insert(messages)


async def _store_long(engine: Engine, owner: Owner, found: Conversation) -> Outcome:
    if known := await engine.read(_known, owner, found):
        return known
    session, messages = _rows(found)
    session.guest, leaf = f"{NOBODY}{uuid4().hex}", session.active_leaf_id
    session.import_key = session.active_leaf_id = None
    try:
        await engine.write(_NEW_SESSION.run, session)
        for start in range(0, len(messages), BATCH_MESSAGES):
            await engine.write(_insert, messages[start : start + BATCH_MESSAGES])
            await asyncio.sleep(PAUSE_SECONDS)
        return await engine.write(_hand_over, owner, found, session.id, leaf)
    except BaseException:
        await asyncio.shield(engine.write(_discard, session.id))
        raise


def _hand_over(owner: Owner, found: Conversation, session: UUID, leaf: UUID | None) -> Outcome:
    known = _known(owner, found)
    if known is not None:
        _discard(session)
        return known
    ChatSession.objects.filter(id=session, guest__startswith=NOBODY).update(
        owner_id=owner.user, guest=owner.guest, import_key=found.key, active_leaf=leaf
    )
    return None


def _discard(session: UUID) -> None:
    ChatSession.objects.filter(id=session, guest__startswith=NOBODY).delete()


def _clear_away() -> None:
    """What a process left that died within an import."""
    long_ago = UUID(int=int((time.time() - LEFT_SECONDS) * 1000) << 80)
    last = NOBODY[:-1] + chr(ord(NOBODY[-1]) + 1)
    left = ChatSession.objects.filter(guest__gte=NOBODY, guest__lt=last, id__lt=long_ago)
    for session in left.values_list("id", flat=True):
        _discard(session)


def _rows(found: Conversation) -> tuple[ChatSession, list[Message]]:
    ids = dict(zip((node.id for node in found.nodes), sorted(new_id() for _ in found.nodes), strict=True))
    session = ChatSession(
        title=found.title,
        titled_by=ChatSession.TitledBy.USER,
        model=found.model,
        system_prompt=found.system,
        archived=found.archived,
        active_leaf_id=ids[found.active] if found.active else None,
        import_key=found.key,
        import_digest=found.digest,
        created=found.created,
        updated=found.updated,
    )
    messages = [
        Message(
            id=ids[node.id],
            session_id=session.id,
            parent_id=ids[node.parent] if node.parent else None,
            role=node.role,
            status=node.status,
            parts=node.parts,
            text=text_of(node.parts),
            model=node.model,
            created=node.created or found.created,
        )
        for node in found.nodes
    ]
    return session, messages


def _insert(messages: Sequence[Message]) -> None:
    whole = len(messages) - len(messages) % ROWS
    for start in range(0, whole, ROWS):
        _NEW_MESSAGES.run(*messages[start : start + ROWS])
    for message in messages[whole:]:
        _NEW_MESSAGE.run(message)
