"""The index on Postgres: a tsvector of each title and message, whose words begin with their owner.

A GIN index goes through all that has a word, or a word that begins so. With the owner in front of each word that is
what this owner has. Words are told apart here and not by to_tsvector, which takes a path or an address for one word and
drops what looks like a tag: letters and digits are words, without accents and in lower case, as FTS5 has it on SQLite.

The triggers leave an entry without words, since to find them takes milliseconds, for which the end of a run would wait;
`catch_up` does it afterwards. The row of a chat session's title says whose its messages are. It is locked for share, so
that an answer that ends at the moment its guest signs in belongs to the user.
"""

from django.db.backends.base.base import BaseDatabaseWrapper

INDEXED_CHARS = 100_000  # with the owners below 1 MB, the most that a tsvector holds
WORD_CHARS = 100
NO_ID = "00000000-0000-0000-0000-000000000000"  # below any
TITLE_BIT = 62
STEP_ENTRIES = 16  # indexed in one statement

# ASCII, Latin-1 and the blocks of punctuation and symbols. By code points, since what Postgres takes for a letter
# depends on the database's locale. chat/runs/search.py tells the words of a query apart by the same.
SEPARATORS = (
    "\\x01-\\x2f\\x3a-\\x40\\x5b-\\x60\\x7b-\\xa9\\xab-\\xb1\\xb4\\xb6-\\xb8\\xbb\\xbf\\xd7\\xf7"
    "\\u2000-\\u206f\\u20a0-\\u20cf\\u2190-\\u245f\\u2500-\\u2bff\\u2e00-\\u2e7f\\u3000-\\u3004\\u3008-\\u3020\\u3030"
    "\\ufe10-\\ufe1f\\ufe30-\\ufe6f\\uff01-\\uff0f\\uff1a-\\uff20\\uff3b-\\uff40\\uff5b-\\uff65\\ufff0-\\uffff"
    "\\U0001f000-\\U0001faff"
)
MARKS = "\\u0300-\\u036f"

_FUNCTIONS = f"""
CREATE OR REPLACE FUNCTION chat_search_owner(owner_id text, guest text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce('u' || owner_id, 'g' || left(md5(guest), 12))
$$;

CREATE OR REPLACE FUNCTION chat_search_words(owner text, content text) RETURNS tsvector LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(array_to_tsvector(array_agg(DISTINCT owner || ':' || left(word, {WORD_CHARS}))), '')
    FROM regexp_split_to_table(
        lower(regexp_replace(normalize(left(content, {INDEXED_CHARS}), NFD), '[{MARKS}]+', '', 'g')), '[{SEPARATORS}]+'
    ) AS word
    WHERE word <> ''
$$;

CREATE OR REPLACE FUNCTION chat_search_session() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    mine text := chat_search_owner(NEW.owner_id::text, NEW.guest);
BEGIN
    INSERT INTO chat_searchentry (id, owner, session_id, message_id)
    VALUES (nextval('chat_searchentry_number') + (1::bigint << {TITLE_BIT}), mine, NEW.id, NEW.id)
    ON CONFLICT (session_id, message_id) DO UPDATE SET owner = EXCLUDED.owner, words = NULL;
    IF TG_OP = 'UPDATE' AND chat_search_owner(OLD.owner_id::text, OLD.guest) <> mine THEN
        UPDATE chat_searchentry SET owner = mine, words = NULL WHERE session_id = NEW.id AND message_id <> NEW.id;
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION chat_search_message() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    mine text;
BEGIN
    SELECT owner INTO mine FROM chat_searchentry
    WHERE session_id = NEW.session_id AND message_id = NEW.session_id FOR SHARE;
    IF NOT FOUND THEN -- the index is just being filled
        SELECT chat_search_owner(owner_id::text, guest) INTO mine FROM chat_chatsession WHERE id = NEW.session_id;
        IF NOT FOUND THEN -- it comes later, as its foreign key allows: a fixture that is loaded
            RETURN NULL;
        END IF;
    END IF;
    INSERT INTO chat_searchentry (id, owner, session_id, message_id)
    VALUES (nextval('chat_searchentry_number'), mine, NEW.session_id, NEW.id)
    ON CONFLICT (session_id, message_id) DO UPDATE SET words = NULL;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION chat_search_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'chat_message' THEN
        DELETE FROM chat_searchentry WHERE session_id = OLD.session_id AND message_id = OLD.id;
    ELSE
        DELETE FROM chat_searchentry WHERE session_id = OLD.id;
    END IF;
    RETURN NULL;
END $$;
"""

_ENDED = "NEW.status <> 'streaming' AND (OLD.status = 'streaming' OR OLD.text IS DISTINCT FROM NEW.text)"
_CHANGED = "(OLD.title, OLD.owner_id, OLD.guest) IS DISTINCT FROM (NEW.title, NEW.owner_id, NEW.guest)"
_TRIGGERS = {
    "session_added": ("AFTER INSERT ON chat_chatsession", "true", "session"),
    "session_changed": ("AFTER UPDATE OF title, owner_id, guest ON chat_chatsession", _CHANGED, "session"),
    "session_deleted": ("AFTER DELETE ON chat_chatsession", "true", "gone"),
    "message_added": ("AFTER INSERT ON chat_message", "NEW.status <> 'streaming'", "message"),
    "message_ended": ("AFTER UPDATE OF text, status ON chat_message", _ENDED, "message"),
    "message_deleted": ("AFTER DELETE ON chat_message", "true", "gone"),
}


def _trigger(name: str, when: str, condition: str, function: str) -> str:
    return (
        f"CREATE TRIGGER chat_search_{name} {when} FOR EACH ROW WHEN ({condition}) "
        f"EXECUTE FUNCTION chat_search_{function}()"
    )


CREATE = [
    "CREATE SEQUENCE chat_searchentry_number",
    """
    CREATE TABLE chat_searchentry (
        id bigint PRIMARY KEY, owner text NOT NULL, session_id uuid NOT NULL, message_id uuid NOT NULL,
        words tsvector, UNIQUE (session_id, message_id)
    )
    """,
    # What was indexed last lies in a list that every search goes through, until it is merged: a short one.
    "CREATE INDEX chat_searchentry_words ON chat_searchentry USING gin (words) WITH (gin_pending_list_limit = 256)",
    "CREATE INDEX chat_searchentry_behind ON chat_searchentry (id) WHERE words IS NULL",
    _FUNCTIONS,
    *(_trigger(name, *rest) for name, rest in _TRIGGERS.items()),
]
DROP = [
    *(f"DROP TRIGGER IF EXISTS chat_search_{name} ON {rest[0].split()[-1]}" for name, rest in _TRIGGERS.items()),
    (
        "DROP FUNCTION IF EXISTS chat_search_session, chat_search_message, chat_search_gone, chat_search_words, "
        "chat_search_owner"
    ),
    "DROP TABLE IF EXISTS chat_searchentry",
    "DROP SEQUENCE IF EXISTS chat_searchentry_number",
]

# What is there when the index is made, beside others that write. Each: the next ids without an entry, above one and as
# many as asked for; then what to do for those between two. Their rows are locked: none is deleted in between.
FILL_TITLES = (
    """
    SELECT s.id FROM chat_chatsession s WHERE s.id > %s AND NOT EXISTS (
        SELECT 1 FROM chat_searchentry e WHERE e.session_id = s.id AND e.message_id = s.id
    ) ORDER BY s.id LIMIT %s
    """,
    f"""
    INSERT INTO chat_searchentry (id, owner, session_id, message_id)
    SELECT nextval('chat_searchentry_number') + (1::bigint << {TITLE_BIT}), mine, id, id
    FROM (
        SELECT id, chat_search_owner(owner_id::text, guest) AS mine FROM chat_chatsession
        WHERE id BETWEEN %s AND %s ORDER BY id FOR NO KEY UPDATE
    ) s
    ON CONFLICT (session_id, message_id) DO NOTHING
    """,
)
FILL_MESSAGES = (
    """
    SELECT m.id FROM chat_message m WHERE m.id > %s AND m.status <> 'streaming' AND NOT EXISTS (
        SELECT 1 FROM chat_searchentry e WHERE e.session_id = m.session_id AND e.message_id = m.id
    ) ORDER BY m.id LIMIT %s
    """,
    """
    INSERT INTO chat_searchentry (id, owner, session_id, message_id)
    SELECT nextval('chat_searchentry_number'), owner, session_id, message_id
    FROM (
        SELECT title.owner, m.session_id, m.id AS message_id
        FROM chat_message m JOIN chat_searchentry title
            ON title.session_id = m.session_id AND title.message_id = m.session_id
        WHERE m.id BETWEEN %s AND %s AND m.status <> 'streaming' ORDER BY m.id FOR SHARE
    ) found
    ON CONFLICT (session_id, message_id) DO NOTHING
    """,
)

# What is behind -------------------------------------------------------------------------------------------------------

# Several processes do it at once, each others.
_CATCH_UP = """
    WITH behind AS (
        SELECT id, owner, session_id, message_id FROM chat_searchentry
        WHERE words IS NULL ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
    )
    UPDATE chat_searchentry e SET words = chat_search_words(b.owner, coalesce(m.text, s.title, ''))
    FROM behind b
    LEFT JOIN chat_message m ON m.id = b.message_id
    LEFT JOIN chat_chatsession s ON s.id = b.message_id
    WHERE e.id = b.id
"""


def is_behind(connection: BaseDatabaseWrapper) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT 1 FROM chat_searchentry WHERE words IS NULL)")
        return bool(cursor.fetchall()[0][0])


def catch_up(connection: BaseDatabaseWrapper, entries: int = STEP_ENTRIES) -> bool:
    """One step; whether there was anything to do."""
    with connection.cursor() as cursor:
        cursor.execute(_CATCH_UP, [entries])
        return bool(cursor.rowcount)


def settle(connection: BaseDatabaseWrapper) -> None:
    """Tell the planner of what was indexed at once."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE chat_searchentry")
