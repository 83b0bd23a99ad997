"""Takes a large JSON file apart into the items of its list, without reading any of them.

To decode 64 MiB at once holds the interpreter for seconds, in which no stream goes on. So only brackets are looked
at here, one after the other, and each item is decoded by itself.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from chat.protocol.errors import ChatError

# All up to the next bracket that is in no string. A string that does not end goes to the end of the file: another try
# from each quote in it would never be done.
_UP_TO_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+(?:"|\Z))*+([\[\]{}]|\Z)', re.DOTALL)
_COMMA = re.compile(rb"\s*,\s*")
_NOTHING = re.compile(rb"\s*")

Span = tuple[int, int]


class _Bracket(NamedTuple):
    token: bytes
    position: int
    after: int  # where the one before it ends
    depth: int  # of what it opens or closes


def split(data: bytes, name: str, most: int) -> tuple[list[Span], bytes]:
    """Where the items lie of the list that `data` is, or of the list `name` in the object that it is.

    Also what is around them: the file as it would be with an empty list; without such a list all of it. Raises
    ChatError: bad_json, too_large.
    """
    named = re.compile(rb'.*"' + name.encode() + rb'"\s*:\s*', re.DOTALL)
    spans: list[Span] = []
    opened: _Bracket | None = None
    item = 0
    for bracket in _brackets(data):
        token, position, after, depth = bracket
        if opened is None:
            if token == b"[" and (depth == 1 or (depth == 2 and named.fullmatch(data, after, position))):
                opened = bracket
        elif depth == opened.depth:
            _check_gap(_NOTHING, data, after, position)
            return spans, data[: opened.position + 1] + data[position:]
        elif depth == opened.depth + 1 and token in (b"[", b"{"):
            _check_gap(_COMMA if spans else _NOTHING, data, after, position)
            item = position
        elif depth == opened.depth + 1:
            spans.append((item, position + 1))
            if len(spans) > most:
                raise ChatError("too_large", f"There are more than {most} chat sessions in it. Split the file.")
    if opened is not None:
        raise ChatError("bad_json", "The file is cut off: it ends within its list.")
    return [], data


def _brackets(data: bytes) -> Iterator[_Bracket]:
    depth, after = 0, 0
    for match in _UP_TO_BRACKET.finditer(data):
        token = match[1]
        depth += token in (b"[", b"{")
        if token:
            yield _Bracket(token, match.start(1), after, depth)
        depth -= token in (b"]", b"}")
        after = match.end()


def _check_gap(gap: re.Pattern[bytes], data: bytes, start: int, end: int) -> None:
    if not gap.fullmatch(data, start, end):
        raise ChatError("bad_json", "The file is not a list of chat sessions.")
