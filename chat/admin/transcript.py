"""One page of a branch as it is shown: newest messages last, at most PAGE of them."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import Q

from chat.eventlog import log
from chat.models import ChatSession, Message, Run
from chat.protocol.answer import Answer
from chat.protocol.events import Part

PAGE = 100
PART_CHARS = 20_000
SIBLINGS = 10
LIVE_EVENTS = 20_000


class ShownPart(NamedTuple):
    type: str
    text: str
    cut: int  # how many characters are left out


class Shown(NamedTuple):
    message: Message
    run: Run | None
    parts: list[ShownPart]
    siblings: list[UUID]


class Transcript(NamedTuple):
    messages: list[Shown]
    older: UUID | None
    newest: bool


def transcript(session: ChatSession, end: UUID | None = None) -> Transcript:
    """The branch that ends in `end`, else in the session's active leaf."""
    leaf = _leaf(session, end)
    if leaf is None:
        return Transcript([], None, True)
    ids = _path(leaf)
    found = Message.objects.filter(session=session, id__in=ids[:PAGE]).select_related("run").in_bulk()
    messages = [found[id_] for id_ in reversed(ids[:PAGE]) if id_ in found]
    siblings = _siblings(session, messages)
    shown = [show(message, siblings=siblings[message.id]) for message in messages]
    return Transcript(shown, ids[PAGE] if len(ids) > PAGE else None, end is None)


def show(message: Message, most: int = PART_CHARS, siblings: Sequence[UUID] = ()) -> Shown:
    run: Run | None = getattr(message, "run", None)
    return Shown(message, run, [_part(part, most) for part in _parts(message, run)], list(siblings))


def _leaf(session: ChatSession, end: UUID | None) -> UUID | None:
    messages = Message.objects.filter(session=session)
    if end is not None:
        return messages.filter(id=end).values_list("id", flat=True).first()
    return session.active_leaf_id or messages.order_by("-id").values_list("id", flat=True).first()


def _path(leaf: UUID) -> list[UUID]:
    """From the leaf upwards, one more than a page."""
    table, pk = Message._meta.db_table, Message._meta.pk
    sql = (
        f"WITH RECURSIVE path(id, parent_id, depth) AS (SELECT id, parent_id, 1 FROM {table} WHERE id = %s "
        f"UNION ALL SELECT m.id, m.parent_id, path.depth + 1 FROM {table} m JOIN path ON m.id = path.parent_id "
        f"WHERE path.depth <= {PAGE}) SELECT id FROM path ORDER BY depth"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [pk.get_db_prep_value(leaf, connection)])
        return [pk.to_python(id_) for (id_,) in cursor.fetchall()]


def _siblings(session: ChatSession, messages: list[Message]) -> dict[UUID, list[UUID]]:
    """For each message the others under its parent: edits of a prompt, other answers to it."""
    condition = Q(parent__in=[message.parent_id for message in messages if message.parent_id])
    if any(message.parent_id is None for message in messages):
        condition |= Q(session=session, parent=None)
    children: defaultdict[UUID | None, list[UUID]] = defaultdict(list)
    rows = Message.objects.filter(condition).order_by("id").values_list("parent_id", "id")
    for parent, id_ in rows[: PAGE * SIBLINGS]:
        children[parent].append(id_)
    return {
        message.id: [id_ for id_ in children[message.parent_id] if id_ != message.id][:SIBLINGS] for message in messages
    }


def _parts(message: Message, run: Run | None) -> list[Part]:
    if message.status == Message.Status.STREAMING and run is not None:
        # The row gets its content at the run's end; until then the log has it.
        events = log.read(run.id, 0, LIVE_EVENTS)
        if events and events[0].seq == 1:
            return Answer().apply(events).parts
    return message.parts or [{"type": "text", "text": message.text}]


def _part(part: dict[str, Any], most: int) -> ShownPart:
    text = str(part.get("text", ""))
    return ShownPart(str(part.get("type", "text")), text[:most], max(0, len(text) - most))
