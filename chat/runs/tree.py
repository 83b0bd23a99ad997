"""Walks a chat session's tree of messages. Recursive SQL: a path of a thousand messages is one query."""

from uuid import UUID

from django.db import connection

from chat.models import Message

LONGEST_PATH = 10_000

_PATH = f"""
WITH RECURSIVE path(id, parent_id, depth) AS (
    SELECT id, parent_id, 0 FROM {Message._meta.db_table} WHERE id = %s
    UNION ALL
    SELECT m.id, m.parent_id, depth + 1
    FROM {Message._meta.db_table} m JOIN path ON m.id = path.parent_id WHERE depth < %s
)
"""
_IDS = _PATH + "SELECT id FROM path ORDER BY depth"
_TEXTS = _PATH + f"SELECT m.role, m.text FROM path JOIN {Message._meta.db_table} m ON m.id = path.id ORDER BY depth"
# One query also here: it runs in the writer's thread, which every stream waits for.
_NEWEST_LEAF = f"""
WITH RECURSIVE down(id, depth) AS (
    SELECT id, 0 FROM {Message._meta.db_table} WHERE id = %s
    UNION ALL
    SELECT (SELECT m.id FROM {Message._meta.db_table} m WHERE m.parent_id = down.id ORDER BY m.id DESC LIMIT 1),
        depth + 1
    FROM down WHERE down.id IS NOT NULL AND depth < %s
)
SELECT id FROM down WHERE id IS NOT NULL ORDER BY depth DESC LIMIT 1
"""


def path(leaf: UUID, most: int = LONGEST_PATH) -> list[UUID]:
    """The ids from `leaf` up to its root, at most `most`."""
    return [_from_db(id_) for (id_,) in _query(_IDS, leaf, most)]


def texts(leaf: UUID, most: int) -> list[tuple[str, str]]:
    """Role and text of each message from `leaf` up to its root, at most `most`."""
    return [(role, text) for role, text in _query(_TEXTS, leaf, most)]


def _query(sql: str, leaf: UUID, most: int) -> list[tuple[str, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, [_to_db(leaf), most - 1])
        return list(cursor.fetchall())


def newest_leaf(message: UUID) -> UUID:
    """Where the branch through `message` ends, taking the newest child at every fork."""
    [(leaf,)] = _query(_NEWEST_LEAF, message, LONGEST_PATH + 1)
    return _from_db(leaf)


def siblings(session: UUID, parents: set[UUID | None]) -> dict[UUID | None, list[str]]:
    """The children of each of `parents`, oldest first; None stands for the first prompts."""
    found: dict[UUID | None, list[str]] = {}
    rows = Message.objects.filter(session_id=session)
    wanted = rows.filter(parent_id__in=[parent for parent in parents if parent])
    if None in parents:
        wanted = wanted | rows.filter(parent=None)
    for parent, id_ in wanted.order_by("id").values_list("parent_id", "id"):
        found.setdefault(parent, []).append(str(id_))
    return found


def _to_db(id_: UUID) -> UUID | str:
    return id_ if connection.features.has_native_uuid_field else id_.hex


def _from_db(value: object) -> UUID:
    return value if isinstance(value, UUID) else UUID(str(value))
