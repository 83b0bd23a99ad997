"""Stores what is imported: each conversation wholly or not at all, and none twice.

One that does not fit into a small transaction is built up as the chat session of nobody (a guest with a name that no
guest has) and given to its owner when it is complete.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID, uuid4

from django.db import transaction

from chat.models import ChatSession, Message
from chat.models.ids import new_id
from chat.models.prepared import Insert
from chat.protocol.answer import text_of
from chat.runs.conversations import Conversation, Node
from chat.runs.engine import Engine
from chat.runs.owner import Owner

# What one transaction stores at most: about 10 ms on SQLite. One conversation that is longer goes in several.
BATCH_MESSAGES, BATCH_BYTES = 50, 64 * 1024
PAUSE_SECONDS = 0.005
ROWS = 20

NOBODY = "import:"
LEFT_SECONDS = 3600  # after which what nobody owns was left by a process that died

_NEW_SESSION = Insert(ChatSession, raw=True)
_NEW_MESSAGE, _NEW_MESSAGES = Insert(Message, raw=True), Insert(Message, rows=ROWS, raw=True)

UNCHANGED = "unchanged"
CHANGED = "It was imported before and has changed since. Delete that chat session to import it anew."

Outcome = str | None  # None: it is stored; else why not


def is_long(found: Conversation) -> bool:
    return len(found.nodes) > BATCH_MESSAGES or sum(map(_size, found.nodes)) > BATCH_BYTES


def _size(message: Node | Message) -> int:
    return sum(len(part["text"]) for part in message.parts)


def store(owner: Owner, batch: Sequence[Conversation]) -> list[Outcome]:
    known = _known(owner, batch)
    outcomes: list[Outcome] = []
    for each in batch:
        if each.key in known:
            outcomes.append(_compared(each, known))
        else:
            _store_whole(owner, each)
            known[each.key] = each.digest  # should the file have it twice
            outcomes.append(None)
    return outcomes


def _known(owner: Owner, batch: Sequence[Conversation]) -> dict[str, str | None]:
    """The digests, by their keys, of those that are here; None: it is the very one that was exported."""
    mine = owner.sessions()
    same = mine.filter(import_key__in=[each.key for each in batch]).values_list("import_key", "import_digest")
    known: dict[str, str | None] = {str(key): digest for key, digest in same}
    ours = {UUID(each.original): each.key for each in batch if each.original}
    if ours:
        known.update((ours[id_], None) for id_ in mine.filter(id__in=ours).values_list("id", flat=True))
    return known


def _compared(found: Conversation, known: Mapping[str, str | None]) -> Outcome:
    return UNCHANGED if known[found.key] in (None, found.digest) else CHANGED


def _store_whole(owner: Owner, found: Conversation) -> None:
    with transaction.atomic():
        session, messages = _rows(found)
        session.owner_id, session.guest = owner.user, owner.guest
        _NEW_SESSION.run(session)
        _insert(messages)


async def store_long(engine: Engine, owner: Owner, found: Conversation) -> Outcome:
    if known := await engine.read(_known, owner, [found]):
        return _compared(found, known)
    session, messages = _rows(found)
    session.guest, leaf = f"{NOBODY}{uuid4().hex}", session.active_leaf_id
    session.import_key = session.active_leaf_id = None
    try:
        await engine.write(_NEW_SESSION.run, session)
        for batch in _batches(messages):
            await engine.write(_insert, batch)
            await asyncio.sleep(PAUSE_SECONDS)
        return await engine.write(_hand_over, owner, found, session.id, leaf)
    except BaseException:
        await asyncio.shield(engine.write(_discard, session.id))
        raise


def _batches(messages: Sequence[Message]) -> Iterable[list[Message]]:
    batch: list[Message] = []
    size = 0
    for message in messages:
        if len(batch) == BATCH_MESSAGES or (batch and size + _size(message) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += _size(message)
    if batch:
        yield batch


def _hand_over(owner: Owner, found: Conversation, session: UUID, leaf: UUID | None) -> Outcome:
    if known := _known(owner, [found]):
        _discard(session)
        return _compared(found, known)
    given = ChatSession.objects.filter(id=session, guest__startswith=NOBODY).update(
        owner_id=owner.user, guest=owner.guest, import_key=found.key, active_leaf=leaf
    )
    return None if given else "It was lost on the way. Import the file again."


def _discard(session: UUID) -> None:
    ChatSession.objects.filter(id=session, guest__startswith=NOBODY).delete()


def clear_away() -> None:
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
