"""Takes a large JSON file apart into the items of its list, without reading any of them.

To decode 64 MiB at once holds the interpreter for seconds, in which no stream goes on. So only brackets are looked
at here, one after the other, and each item is decoded by itself.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from chat.protocol.errors import ChatError

# All up to the next bracket that is in no string. What is begun in a string is left where the string begins.
_UP_TO_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+")*+(?:([\[\]{}])|(")|\Z)', re.DOTALL)
_UP_TO_QUOTE = re.compile(rb'(?:[^"\\]++|\\.)*+("?)', re.DOTALL)
# No other thread goes on within one match: half a millisecond, whatever the file holds.
_WINDOW_BYTES = 16 * 1024
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
            if token == b"[" and (depth == 1 or (depth == 2 and _has_name(named, data, after, position))):
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


def _has_name(named: re.Pattern[bytes], data: bytes, start: int, end: int) -> bool:
    return named.fullmatch(data, max(start, end - _WINDOW_BYTES), end) is not None


def _brackets(data: bytes) -> Iterator[_Bracket]:
    depth, after, at, quoted = 0, 0, 0, False
    while at < len(data):
        window = at + _WINDOW_BYTES
        if quoted:
            match = _UP_TO_QUOTE.match(data, at, window)
            assert match is not None  # it takes nothing as well
            if match.end() == at:
                return  # the file ends within an escape
            at, quoted = match.end(), not match[1]
            continue
        match = _UP_TO_BRACKET.match(data, at, window)
        assert match is not None
        at, token, quoted = match.end(), match[1], bool(match[2])
        if token:
            depth += token in (b"[", b"{")
            yield _Bracket(token, match.start(1), after, depth)
            depth -= token in (b"]", b"}")
            after = at


def _check_gap(gap: re.Pattern[bytes], data: bytes, start: int, end: int) -> None:
    if end - start > _WINDOW_BYTES or not gap.fullmatch(data, start, end):
        raise ChatError("bad_json", "The file is not a list of chat sessions.")
