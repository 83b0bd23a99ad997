import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat.protocol.errors import ChatError
from chat.runs import json_items
from chat.runs.json_items import split

values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(st.text(), values, max_size=4)


@settings(max_examples=40)
@given(st.lists(objects, max_size=5), st.sampled_from([None, 2]), st.booleans())
def test_items_are_what_json_says_they_are(items: list[Any], indent: int | None, ascii_: bool) -> None:
    data = json.dumps(items, indent=indent, ensure_ascii=ascii_).encode("utf-8", "replace")
    spans, around = split(data, "sessions", 100)
    assert [json.loads(data[start:end]) for start, end in spans] == json.loads(data)
    assert json.loads(around) == []


@settings(max_examples=40)
@given(
    st.lists(objects, max_size=4),
    st.dictionaries(st.text().filter(lambda name: name != "sessions"), values, max_size=3),
)
def test_items_are_found_in_the_list_of_that_name(items: list[Any], head: dict[str, Any]) -> None:
    data = json.dumps({**head, "sessions": items, "after": [1]}).encode()
    spans, around = split(data, "sessions", 100)
    assert [json.loads(data[start:end]) for start, end in spans] == items
    assert json.loads(around) == {**head, "sessions": [], "after": [1]}


@pytest.mark.parametrize(
    "data",
    [
        b"[{}",
        b"[{} {}]",
        b"[{},]",
        b"[,{}]",
        b"[1]",
        b'["a"]',
        b"[{},1]",
        b'[{"a":"]',
        b'[{"a":"\\"}]',
        b"[[[",
        b"[{}},{]",
    ],
)
def test_what_is_no_list_of_objects_is_refused(data: bytes) -> None:
    def read() -> None:
        spans, around = split(data, "sessions", 100)
        # What is wrong within an item, or behind the list, is found when that is decoded.
        for text in (around, *(data[start:end] for start, end in spans)):
            json.loads(text)

    with pytest.raises((ChatError, json.JSONDecodeError)):
        read()


def test_there_is_a_limit() -> None:
    assert len(split(b"[{},{},{}]", "sessions", 3)[0]) == 3
    with pytest.raises(ChatError, match="too_large"):
        split(b"[{},{},{},{}]", "sessions", 3)


@pytest.mark.parametrize(
    "data",
    [b'["' + b'\\"' * 500_000, b"[" * 1_000_000, b'"' * 1_000_001, b"{" * 500_000 + b"[", b"[" + b" " * 1_000_000],
)
def test_hostile_bytes_take_no_longer_than_others(data: bytes) -> None:
    begun = time.perf_counter()
    try:
        split(data, "sessions", 100)
    except ChatError:
        pass
    finally:
        assert time.perf_counter() - begun < 5


def test_strings_and_escapes_may_lie_across_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    items = [{"a": "x" * 9 + '"]}' + "\\" * 5}, {"[": '\\"'}, {"b": ["{", {}]}]
    data = json.dumps(items).encode()
    for bytes_ in range(2, len(data) + 1):
        monkeypatch.setattr(json_items, "_WINDOW_BYTES", bytes_)
        spans, _ = split(data, "sessions", 100)
        assert [json.loads(data[start:end]) for start, end in spans] == items
