"""The index on SQLite: FTS5, whose entries lie together by owner.

FTS5 keeps the hits of a word in the order of their rowids, and goes to a range of them without looking at the rest. So
a rowid is: the owner's number, one bit for titles, a running number. A search is a walk from the upper end of such a
range that stops when it has a page: it takes the same time whether a word hits twenty messages or all.

The triggers only make entries and queue them: to index a text takes FTS5 half a millisecond, and fifty whenever it
merges what it has, within a transaction that every stream waits for. `catch_up` does it afterwards, by small steps.
The index holds the text once more, so that an entry can be taken out as it was put in when its message is long gone.

No trigger names another table of the chat than its own: SQLite refuses to make a table anew, which is how Django alters
one, while a trigger elsewhere names it.
"""

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

INDEXED_CHARS = 100_000  # of a message, as many are searched
OWNER_BITS, TITLE_BIT = 40, 39
NO_ID = "0" * 32  # below any
# What one step indexes and merges at most, in entries, characters an entry and pages of 4 kB: a few ms.
STEP_ENTRIES, STEP_CHARS, STEP_PAGES = 16, 2_000, 32

_FIRST = f"(owner.id << {OWNER_BITS})"
_OWNER = "coalesce('u' || NEW.owner_id, 'g' || NEW.guest)"
_MY_OWNER = f"chat_searchowner owner WHERE owner.key = {_OWNER}"
_KNOW_OWNER = (
    f"INSERT INTO chat_searchowner (key) SELECT {_OWNER} "
    f"WHERE NOT EXISTS (SELECT 1 FROM chat_searchowner WHERE key = {_OWNER})"
)
# A name that nobody has entries by is forgotten: guests come and go.
_FORGET_OWNER = f"""
    DELETE FROM chat_searchowner WHERE key = coalesce('u' || OLD.owner_id, 'g' || OLD.guest) AND NOT EXISTS (
        SELECT 1 FROM chat_searchentry e
        WHERE e.id >= chat_searchowner.id << {OWNER_BITS} AND e.id < chat_searchowner.id + 1 << {OWNER_BITS}
    )
"""


def _last(first: str) -> str:
    """The highest id of a half of an owner's range, which begins at `first`; `first` itself while it is empty."""
    half = f"e.id > {first} AND e.id < {first} + (1 << {TITLE_BIT})"
    return f"coalesce((SELECT e.id FROM chat_searchentry e WHERE {half} ORDER BY e.id DESC LIMIT 1), {first})"


_LAST_TITLE = _last(f"({_FIRST} + (1 << {TITLE_BIT}))")
# Of the chat session whose title's entry is `title`: what is above these bits is its owner's number.
_LAST_MESSAGE = _last(f"(title.id >> {OWNER_BITS} << {OWNER_BITS})")

_ADD_MESSAGE = f"""
    INSERT INTO chat_searchentry (id, session_id, message_id)
    SELECT {_LAST_MESSAGE} + 1, NEW.session_id, NEW.id FROM chat_searchentry title
    WHERE title.session_id = NEW.session_id AND title.message_id = NEW.session_id
"""
_THIS_MESSAGE = "chat_searchentry WHERE session_id = NEW.session_id AND message_id = NEW.id"
# Where each entry of the chat session goes in its new owner's range, in the order they have.
_MOVES = f"""
    SELECT m.id AS old, CASE m.id >> {TITLE_BIT} & 1 WHEN 1 THEN {_LAST_TITLE} ELSE {_last(_FIRST)} END
        + row_number() OVER (PARTITION BY m.id >> {TITLE_BIT} & 1 ORDER BY m.id) AS new
    FROM chat_searchentry m, {_MY_OWNER} AND m.session_id = NEW.id
"""


def _queue(id_: str) -> str:
    """What is there already stays: the outer statement's way with conflicts would win over OR IGNORE."""
    return (
        f"INSERT INTO chat_searchqueue (id) SELECT {id_} "
        f"WHERE NOT EXISTS (SELECT 1 FROM chat_searchqueue WHERE id = {id_})"
    )


def _queue_found(entries: str) -> str:
    return f"INSERT INTO chat_searchqueue (id) SELECT id FROM {entries} AND id NOT IN (SELECT id FROM chat_searchqueue)"


def _trigger(name: str, when: str, *body: str) -> str:
    return f"CREATE TRIGGER IF NOT EXISTS chat_search_{name} {when} BEGIN {'; '.join(body)}; END"


_TABLES = {
    "chat_searchowner": (
        "CREATE TABLE IF NOT EXISTS chat_searchowner (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE)"
    ),
    "chat_searchentry": (
        "CREATE TABLE IF NOT EXISTS chat_searchentry (id INTEGER PRIMARY KEY, "
        "session_id CHAR(32) NOT NULL, message_id CHAR(32) NOT NULL, UNIQUE (session_id, message_id))"
    ),
    # Entries that the index does not have as they are now.
    "chat_searchqueue": "CREATE TABLE IF NOT EXISTS chat_searchqueue (id INTEGER PRIMARY KEY)",
    # The lengths of entries serve a ranking, which this is not. Two letters are the least that is searched as the
    # beginning of a word, and hit too many words to go through them all.
    "chat_searchindex": (
        "CREATE VIRTUAL TABLE IF NOT EXISTS chat_searchindex USING fts5 "
        "(text, columnsize=0, prefix='2', tokenize='unicode61 remove_diacritics 2')"
    ),
}
_SETTINGS = ["INSERT INTO chat_searchindex (chat_searchindex, rank) VALUES ('automerge', 0)"]  # merged by `catch_up`
_TRIGGERS = {
    "entry_added": ("AFTER INSERT ON chat_searchentry", _queue("NEW.id")),
    "entry_moved": ("AFTER UPDATE OF id ON chat_searchentry", _queue("OLD.id"), _queue("NEW.id")),
    "entry_deleted": ("AFTER DELETE ON chat_searchentry", _queue("OLD.id")),
    "session_added": (
        "AFTER INSERT ON chat_chatsession",
        _KNOW_OWNER,
        (
            "INSERT INTO chat_searchentry (id, session_id, message_id) "
            f"SELECT {_LAST_TITLE} + 1, NEW.id, NEW.id FROM {_MY_OWNER}"
        ),
    ),
    "session_titled": (
        "AFTER UPDATE OF title ON chat_chatsession WHEN OLD.title IS NOT NEW.title",
        _queue_found("chat_searchentry WHERE session_id = NEW.id AND message_id = NEW.id"),
    ),
    "session_moved": (
        (
            "AFTER UPDATE OF owner_id, guest ON chat_chatsession "
            "WHEN OLD.owner_id IS NOT NEW.owner_id OR OLD.guest IS NOT NEW.guest"
        ),
        _KNOW_OWNER,
        f"UPDATE chat_searchentry SET id = moves.new FROM ({_MOVES}) moves WHERE chat_searchentry.id = moves.old",
        _FORGET_OWNER,
    ),
    "session_deleted": (
        "AFTER DELETE ON chat_chatsession",
        "DELETE FROM chat_searchentry WHERE session_id = OLD.id",
        _FORGET_OWNER,
    ),
    "message_added": ("AFTER INSERT ON chat_message WHEN NEW.status <> 'streaming'", _ADD_MESSAGE),
    "message_ended": (
        (
            "AFTER UPDATE OF text, status ON chat_message "
            "WHEN NEW.status <> 'streaming' AND (OLD.status = 'streaming' OR OLD.text IS NOT NEW.text)"
        ),
        _queue_found(_THIS_MESSAGE),
        f"{_ADD_MESSAGE} AND NOT EXISTS (SELECT 1 FROM {_THIS_MESSAGE})",
    ),
    "message_deleted": (
        "AFTER DELETE ON chat_message",
        "DELETE FROM chat_searchentry WHERE session_id = OLD.session_id AND message_id = OLD.id",
    ),
}

TABLES = set(_TABLES)
TRIGGERS = {f"chat_search_{name}" for name in _TRIGGERS}
CREATE = [*_TABLES.values(), *_SETTINGS, *(_trigger(name, *rest) for name, rest in _TRIGGERS.items())]
DROP = [
    *(f"DROP TRIGGER IF EXISTS {name}" for name in sorted(TRIGGERS)),
    *(f"DROP TABLE IF EXISTS {name}" for name in reversed(_TABLES)),
]

# What is there when the index is made. Each: the next ids without an entry, above one and as many as asked for; then
# what to do for those between two.
_ITS_OWNER = _OWNER.replace("NEW.", "s.")
_NO_TITLE = "NOT EXISTS (SELECT 1 FROM chat_searchentry e WHERE e.session_id = s.id AND e.message_id = s.id)"
_NO_ENTRY = "NOT EXISTS (SELECT 1 FROM chat_searchentry e WHERE e.session_id = m.session_id AND e.message_id = m.id)"
FILL_TITLES = (
    f"SELECT s.id FROM chat_chatsession s WHERE s.id > %s AND {_NO_TITLE} ORDER BY s.id LIMIT %s",
    f"""
    INSERT INTO chat_searchowner (key) SELECT DISTINCT {_ITS_OWNER} FROM chat_chatsession s
    WHERE s.id BETWEEN %s AND %s AND {_ITS_OWNER} NOT IN (SELECT key FROM chat_searchowner)
    """,
    f"""
    INSERT INTO chat_searchentry (id, session_id, message_id)
    SELECT {_LAST_TITLE} + row_number() OVER (PARTITION BY owner.id ORDER BY s.id), s.id, s.id
    FROM chat_chatsession s JOIN chat_searchowner owner ON owner.key = {_ITS_OWNER}
    WHERE s.id BETWEEN %s AND %s AND {_NO_TITLE}
    """,
)
FILL_MESSAGES = (
    f"""
    SELECT m.id FROM chat_message m
    WHERE m.id > %s AND m.status <> 'streaming' AND {_NO_ENTRY} ORDER BY m.id LIMIT %s
    """,
    f"""
    INSERT INTO chat_searchentry (id, session_id, message_id)
    SELECT {_LAST_MESSAGE} + row_number() OVER (PARTITION BY title.id >> {OWNER_BITS} ORDER BY m.id), m.session_id, m.id
    FROM chat_message m
    JOIN chat_searchentry title ON title.session_id = m.session_id AND title.message_id = m.session_id
    WHERE m.id BETWEEN %s AND %s AND m.status <> 'streaming' AND {_NO_ENTRY}
    """,
)

# The queue ------------------------------------------------------------------------------------------------------------

_QUEUED = f"""
    SELECT q.id, e.id, CASE e.message_id WHEN e.session_id
        THEN (SELECT s.title FROM chat_chatsession s WHERE s.id = e.session_id)
        ELSE (SELECT substr(m.text, 1, {INDEXED_CHARS}) FROM chat_message m WHERE m.id = e.message_id)
    END
    FROM chat_searchqueue q LEFT JOIN chat_searchentry e ON e.id = q.id ORDER BY q.id LIMIT %s
"""


def is_behind(connection: BaseDatabaseWrapper) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT 1 FROM chat_searchqueue)")
        return bool(cursor.fetchall()[0][0])


def catch_up(connection: BaseDatabaseWrapper, entries: int = STEP_ENTRIES) -> bool:
    """One step, in a transaction; whether there was anything to do."""
    chars = entries * STEP_CHARS
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        cursor.execute(_QUEUED, [entries])
        done = []
        for id_, entry, text in cursor.fetchall():
            cursor.execute("DELETE FROM chat_searchindex WHERE rowid = %s", [id_])
            if entry is not None and text:
                cursor.execute("INSERT INTO chat_searchindex (rowid, text) VALUES (%s, %s)", [id_, text])
            done.append(id_)
            chars -= len(text or "")
            if chars <= 0:
                break
        if done:
            cursor.execute(f"DELETE FROM chat_searchqueue WHERE id IN ({', '.join(['%s'] * len(done))})", done)
        return _merge(connection, cursor) or bool(done)


def _merge(connection: BaseDatabaseWrapper, cursor: CursorWrapper) -> bool:
    """Some pages, since FTS5 by itself would merge hundreds at once; whether it did anything."""
    before = connection.connection.total_changes
    cursor.execute("INSERT INTO chat_searchindex (chat_searchindex, rank) VALUES ('merge', %s)", [STEP_PAGES])
    return bool(connection.connection.total_changes - before >= 2)  # https://sqlite.org/fts5.html#the_merge_command


def settle(connection: BaseDatabaseWrapper) -> None:
    """Merge all that was indexed at once. Takes seconds."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO chat_searchindex (chat_searchindex) VALUES ('optimize')")
