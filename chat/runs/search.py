"""Finds titles and messages of one's own by the words in them.

A word is a run of letters and digits. All words of a query must be there, in any order; the last one may be the
beginning of a word, since a page searches while its user types. Hits come titles first, then what was said last.
"""

import functools
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models.functions import Substr

from chat.models import ChatSession, Message
from chat.models.search_postgres import SEPARATORS, WORD_CHARS
from chat.models.search_sqlite import INDEXED_CHARS, OWNER_BITS
from chat.protocol.errors import ChatError
from chat.runs.owner import Owner

PAGE = 20
MOST_WORDS = 16
BEGINNING_CHARS = 2  # a single letter begins too many words to be of use
SNIPPET_CHARS, BEFORE_CHARS = 200, 60
WINDOW_CHARS = 10_000

# Halves of surrogate pairs are in no text that could be stored.
_WORD = re.compile(rf"[^\x00\ud800-\udfff{SEPARATORS}]+")
_MARKS = re.compile("[\u0300-\u036f]+")

_HITS_SQLITE = """
    SELECT e.id, e.session_id, e.message_id
    FROM chat_searchindex i JOIN chat_searchentry e ON e.id = i.rowid
    WHERE i.chat_searchindex MATCH %s AND i.rowid > %s AND i.rowid < %s ORDER BY i.rowid DESC LIMIT %s
"""
_OWNER_SQLITE = "SELECT id FROM chat_searchowner WHERE key = %s"
# Materialized: else the planner may walk everybody's entries from the newest on, when it thinks that hits abound.
_HITS_POSTGRES = """
    WITH found AS MATERIALIZED (
        SELECT id, session_id, message_id FROM chat_searchentry WHERE words @@ %s::tsquery
    )
    SELECT id, session_id, message_id FROM found WHERE id < %s ORDER BY id DESC LIMIT %s
"""
_OWNER_POSTGRES = "SELECT chat_search_owner(%s, %s)"
_LAST_ID = 2**63 - 1


class Hit(NamedTuple):
    """`message` None: the title has the words. `matches`: [start, end) in `snippet`, in Unicode code points."""

    session: UUID
    title: str
    message: UUID | None
    role: str | None
    created: str
    snippet: str
    matches: list[tuple[int, int]]


class Query(NamedTuple):
    words: list[str]
    beginning: bool  # the last word may go on


def find(owner: Owner, text: str, cursor: str | None = None, most: int = PAGE) -> tuple[list[Hit], str | None]:
    """A page of hits and the cursor of the next page (None: there is none). Raises ChatError: bad_frame."""
    before = _before(cursor)
    query = parse(text)
    if not query.words:
        return [], None
    search = _hits_sqlite if connection.vendor == "sqlite" else _hits_postgres
    found = search(owner, query, before, most + 1)
    more = str(found[most - 1][0]) if len(found) > most else None
    return _complete(owner, query, found[:most]), more


def parse(text: str) -> Query:
    words = _WORD.findall(text)[:MOST_WORDS]
    beginning = bool(words) and text.endswith(words[-1]) and len(words[-1]) >= BEGINNING_CHARS
    return Query([word[:WORD_CHARS] for word in words], beginning)


def _before(cursor: str | None) -> int:
    if cursor is None:
        return _LAST_ID
    if not re.fullmatch(r"[0-9]{1,19}", cursor, re.ASCII) or int(cursor) > _LAST_ID:
        raise ChatError("bad_frame", "`cursor` is not one that a page of hits came with.", field="cursor")
    return int(cursor)


# The index ------------------------------------------------------------------------------------------------------------

Found = Sequence[tuple[int, UUID, UUID]]


def _hits_sqlite(owner: Owner, query: Query, before: int, most: int) -> Found:
    # Quoted, so that nothing of it is FTS5's syntax; it tells words apart by itself once more, and folds them.
    words = " ".join(f'"{word}"' for word in query.words) + ("*" if query.beginning else "")
    with connection.cursor() as cursor:
        cursor.execute(_OWNER_SQLITE, [f"u{owner.user}" if owner.user is not None else f"g{owner.guest}"])
        for (number,) in cursor.fetchall():
            first, last = number << OWNER_BITS, (number + 1) << OWNER_BITS
            cursor.execute(_HITS_SQLITE, [words, first, min(last, before), most])
            return [(id_, UUID(session), UUID(message)) for id_, session, message in cursor.fetchall()]
    return []


def _hits_postgres(owner: Owner, query: Query, before: int, most: int) -> Found:
    user = None if owner.user is None else str(owner.user)
    with connection.cursor() as cursor:
        cursor.execute(_OWNER_POSTGRES, [user, owner.guest])
        [(mine,)] = cursor.fetchall()
        words = [f"'{mine}:{fold(word)}'" for word in query.words]
        cursor.execute(_HITS_POSTGRES, [" & ".join(words) + (":*" if query.beginning else ""), before, most])
        return [(id_, session, message) for id_, session, message in cursor.fetchall()]


def fold(word: str) -> str:
    """Without accents and in lower case."""
    return _MARKS.sub("", unicodedata.normalize("NFD", word)).lower()


# What is shown of a hit -----------------------------------------------------------------------------------------------


def _complete(owner: Owner, query: Query, found: Found) -> list[Hit]:
    """Whatever the index says, nobody is shown what is not theirs."""
    sessions = {each.id: each for each in _sessions(owner, {session for _, session, _ in found})}
    texts = Message.objects.filter(id__in=[message for _, _, message in found], session__in=sessions)
    messages = {each.id: each for each in texts.defer("text", "parts").annotate(start=Substr("text", 1, INDEXED_CHARS))}
    pattern = _pattern(query)
    hits = []
    for _, session_id, message_id in found:
        session, message = sessions.get(session_id), messages.get(message_id)
        if session is None or (message is None and message_id != session_id):
            continue  # deleted or handed over at this moment
        snippet, matches = excerpt(session.title if message is None else message.start, pattern)
        hits.append(
            Hit(
                session=session.id,
                title=session.title,
                message=message.id if message else None,
                role=message.role if message else None,
                created=(message or session).created.isoformat(),
                snippet=snippet,
                matches=matches,
            )
        )
    return hits


def _sessions(owner: Owner, ids: Iterable[UUID]) -> Iterable[ChatSession]:
    return owner.sessions().filter(id__in=ids).only("id", "title", "created")


def excerpt(text: str, pattern: re.Pattern[str]) -> tuple[str, list[tuple[int, int]]]:
    """Of `text` what lies around the first match, on one line, and where its matches are."""
    # By windows, since one call holds up everything else of the process.
    tries = (
        pattern.search(text, start, start + WINDOW_CHARS + WORD_CHARS) for start in range(0, len(text), WINDOW_CHARS)
    )
    first = next(filter(None, tries), None)
    start = max(0, first.start() - BEFORE_CHARS) if first else 0
    if start:
        start = text.find(" ", start, first.start() if first else 0) + 1 or start
    # Of a text with long gaps more is read than shown, but not all of it.
    line = " ".join(text[start : start + SNIPPET_CHARS * 4].split())
    shown = line[:SNIPPET_CHARS]
    if len(line) > SNIPPET_CHARS or start + SNIPPET_CHARS * 4 < len(text):
        shown += "…"
    if start:
        shown = "…" + shown
    return shown, [match.span() for match in pattern.finditer(shown)]


def _pattern(query: Query) -> re.Pattern[str]:
    """Finds the words in a text as it is, accents and all."""
    ends = [r"(?![^\W_])"] * len(query.words)
    if query.beginning:
        ends[-1] = r"[^\W_]*"
    words = ("".join(map(_spelled, fold(word))) + end for word, end in zip(query.words, ends, strict=True))
    return re.compile(rf"(?<![^\W_])(?:{'|'.join(words)})", re.IGNORECASE)


def _spelled(letter: str) -> str:
    """The letter with any accent, in one code point or in several."""
    return f"[{re.escape(letter)}{_accented().get(letter, '')}][\u0300-\u036f]*"


@functools.cache
def _accented() -> dict[str, str]:
    """For each letter those that fold to it."""
    found: dict[str, str] = {}
    for letter in map(chr, range(0xC0, 0x2000)):
        plain = fold(letter)
        if len(plain) == 1 and plain != letter.lower():
            found[plain] = found.get(plain, "") + letter
    return found
