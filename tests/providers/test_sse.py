import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.providers import sse
from chat.providers.sse import ErrorData, EventTooLarge, SSEDecoder

PIECES = st.lists(
    st.sampled_from(
        [
            *(b"data: ", b"data:", b"data", b"event: error", b"event:x", b"id: 1", b"retry: 5", b": ping", b"{}", b":"),
            *(b"\n", b"\r", b"\r\n", b"\n\n", b"\n\ndata: ", b"data: a\n\n", b"data: b\n\ndata: c\n\n", b"[DONE]"),
            *(b"\xef\xbb\xbf", b" ", "é😀中".encode(), b"\x00", b"\x0b\x0c\x1c\x85"),
        ]
    ),
    max_size=40,
).map(b"".join)
LINES = st.lists(
    st.tuples(
        st.sampled_from([b"data: a", b"data:b", b"data", b"event: error", b": ping", b"", b"", b"id: 1"]),
        st.sampled_from([b"\n", b"\r", b"\r\n"]),
    ).map(b"".join),
    max_size=20,
).map(b"".join)
FRAGMENTS = PIECES | LINES


def reference(stream: bytes) -> list[bytes]:
    """The HTML standard read literally, on the whole stream at once."""
    events: list[bytes] = []
    data: list[bytes] = []
    name = b""
    lines = re.split(rb"\r\n|\r|\n", stream.removeprefix(b"\xef\xbb\xbf"))
    for line in [*lines, b""]:  # the leniency: an end is a blank line
        if line == b"":
            if data:
                payload = b"\n".join(data)
                events.append(ErrorData(payload) if name == b"error" else payload)
            data, name = [], b""
        else:
            field, _, value = line.partition(b":")
            value = value[1:] if value[:1] == b" " else value
            data += [value] if field == b"data" else []
            name = value if field == b"event" else name
    return events


def decode(*reads: bytes) -> list[bytes]:
    decoder = SSEDecoder()
    events = [event for read in reads for event in decoder.feed(read)]
    return events + decoder.end()


@given(FRAGMENTS, st.lists(st.integers(0, 400), max_size=30))
def test_any_stream_in_any_fragments_is_read_as_the_standard_says(stream: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    reads = [stream[start:end] for start, end in pairwise(edges)]
    assert decode(*reads) == decode(stream) == reference(stream)
    assert [type(event) for event in decode(*reads)] == [type(event) for event in reference(stream)]


@given(FRAGMENTS)
def test_byte_by_byte_is_the_same(stream: bytes) -> None:
    assert decode(*(stream[at : at + 1] for at in range(len(stream)))) == reference(stream)


def test_an_event_is_given_as_soon_as_it_is_whole() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b'data: {"a":1}\n\n') == [b'{"a":1}']
    assert decoder.feed(b"data: x") == []
    assert decoder.feed(b"y\r\n\r") == [b"xy"]
    assert decoder.feed(b"\ndata: z\n\n") == [b"z"]


def test_a_crlf_that_falls_apart_is_one_line_end() -> None:
    assert decode(b"data: a\r", b"\ndata: b\r", b"\n\r", b"\ndata: c\r\n\r\n") == [b"a\nb", b"c"]


def test_several_events_of_one_read_come_together() -> None:
    assert SSEDecoder().feed(b"data: a\n\ndata: b\n\ndata: [DONE]\n\n") == [b"a", b"b", b"[DONE]"]


def test_comments_ids_and_retry_times_are_no_events() -> None:
    assert decode(b": ping\n\nid: 7\nretry: 10\n\ndata: a\n\n") == [b"a"]


def test_an_event_named_error_is_told_apart() -> None:
    events = decode(b"event: error\ndata: a\n\ndata: b\n\n")
    assert [type(event) for event in events] == [ErrorData, bytes]


def test_a_last_event_without_its_blank_line_counts() -> None:
    assert decode(b"data: a\n\ndata: b\n") == [b"a", b"b"]
    assert decode(b"data: a\n\ndata: b") == [b"a", b"b"]


@pytest.mark.parametrize("read", [b"x" * 100, b"data: x\n" * 12, b"data: " + b"x" * 100])
def test_a_line_or_event_without_end_is_refused(monkeypatch: pytest.MonkeyPatch, read: bytes) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 250)
    with pytest.raises(EventTooLarge):
        decode(*[read] * 20)
