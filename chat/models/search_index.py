"""What chat sessions are searched by: an index that the database keeps itself, by triggers.

Every title has an entry, and every message from the moment its text is final: an answer gets one once, at its run's
end, and none while it streams. Triggers, since rows also go by cascades, by the admin's bulk deletes and by other
versions of this code. To find the words of an entry is left to the background (chat/runs/indexing.py). The index knows
whose an entry is, so that a search costs what its owner's hits cost and not what everybody's do. `id` orders the
entries: titles above messages, and what came later above what came before.

`chat_searchentry` says of which title or message an entry is: that of a title has the chat session's id in the place of
the message's. It is no model: nothing but the triggers writes it, and nothing but `chat/runs/search.py` reads it.
"""

from typing import Any

from django.db import connection as default
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from chat.models import search_postgres, search_sqlite

BATCH = 500


def create(connection: BaseDatabaseWrapper) -> None:
    """Tables and triggers, empty. What is there already stays."""
    with connection.cursor() as cursor:
        for statement in _of(connection).CREATE:
            cursor.execute(statement)


def drop(connection: BaseDatabaseWrapper) -> None:
    with connection.cursor() as cursor:
        for statement in _of(connection).DROP:
            cursor.execute(statement)


def fill(connection: BaseDatabaseWrapper) -> int:
    """Index what has no entry, in transactions of BATCH rows; how many there were. Not inside a transaction.

    The titles first: from then on the triggers find the owner of whatever is written beside.
    """
    index = _of(connection)
    filled = sum(_fill(connection, statements) for statements in (index.FILL_TITLES, index.FILL_MESSAGES))
    if filled:
        while index.catch_up(connection, BATCH):
            pass
        index.settle(connection)
    return filled


def is_behind() -> bool:
    return bool(_of(default).is_behind(default))


def catch_up() -> bool:
    """Index some of what was written since; whether there was anything to do."""
    return bool(_of(default).catch_up(default))


def _fill(connection: BaseDatabaseWrapper, statements: tuple[str, ...]) -> int:
    """By pages of ids, each statement of a page with its first and last id."""
    filled, after = 0, ""
    while page := _page(connection, statements[0], after):
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            for statement in statements[1:]:
                cursor.execute(statement, [page[0], page[-1]])
        filled, after = filled + len(page), page[-1]
    return filled


def _page(connection: BaseDatabaseWrapper, statement: str, after: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, [after or _of(connection).NO_ID, BATCH])
        return [id_ for (id_,) in cursor.fetchall()]


def mend(*, using: str, **_: Any) -> None:
    """After a migration. SQLite's way to alter a table is to make it anew, and its triggers go with the old one."""
    connection = connections[using]
    if connection.vendor != "sqlite":
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM sqlite_master WHERE name LIKE 'chat\\_search%%' ESCAPE '\\'")
        found = {name for (name,) in cursor.fetchall()}
    if found >= search_sqlite.TABLES and not found >= search_sqlite.TRIGGERS:
        create(connection)
        fill(connection)


def _of(connection: BaseDatabaseWrapper) -> Any:
    return search_sqlite if connection.vendor == "sqlite" else search_postgres
