"""Malformed input that reaches the decoder is answered by an error that says what is wrong, never by a crash."""

import json
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.protocol.codec import FRAME_BYTES, check_prompt, decode, id_of
from chat.protocol.errors import ERRORS, ChatError
from chat.protocol.operations import (
    Ack,
    MessageRegenerate,
    Operation,
    Ping,
    PromptSend,
    RunFollow,
    RunStop,
    RunUnfollow,
    SessionClose,
    SessionOpen,
)

ID = "019ab0b6-0000-7000-8000-000000000001"


def read(text: str, prompt_chars: int = 32_000) -> Operation:
    return decode(text, prompt_chars=prompt_chars)


def refused(text: str, prompt_chars: int = 32_000) -> ChatError:
    with pytest.raises(ChatError) as caught:
        decode(text, prompt_chars=prompt_chars)
    return caught.value


def outcome(text: str) -> Operation | str:
    """What a frame is decoded to, or the code it is refused with."""
    try:
        return read(text)
    except ChatError as error:
        return error.code


def prompt(**fields: Any) -> str:
    return json.dumps({"type": "prompt.send", "text": "Hello", **fields})


def test_it_works() -> None:
    operation = read('{"type":"prompt.send","text":"Hello","id":"one"}')
    assert operation == PromptSend(id="one", text="Hello")
    assert operation.parent is msgspec.UNSET


@pytest.mark.parametrize(
    "text, operation",
    [
        (f'{{"type":"prompt.send","text":"a","session":"{ID}","parent":null}}', "PromptSend"),
        (f'{{"type":"message.regenerate","message":"{ID}"}}', MessageRegenerate(message=UUID(ID))),
        (f'{{"type":"run.follow","run":"{ID}","after":7}}', RunFollow(run=UUID(ID), after=7)),
        (f'{{"type":"run.unfollow","run":"{ID}"}}', RunUnfollow(run=UUID(ID))),
        (f'{{"type":"run.stop","run":"{ID}"}}', RunStop(run=UUID(ID))),
        (f'{{"type":"session.open","session":"{ID}"}}', SessionOpen(session=UUID(ID))),
        (f'{{"type":"session.close","session":"{ID}"}}', SessionClose(session=UUID(ID))),
        (f'{{"type":"branch.select","session":"{ID}","message":"{ID}"}}', "BranchSelect"),
        (f'{{"type":"ack","run":"{ID}","seq":1}}', Ack(run=UUID(ID), seq=1)),
        ('{"type":"ping"}', Ping()),
    ],
)
def test_every_operation_is_told_by_its_type(text: str, operation: Operation | str) -> None:
    found = read(text)
    assert found == operation or type(found).__name__ == operation


def test_a_parent_of_null_differs_from_none_given() -> None:
    found = read(prompt(session=ID, parent=None))
    assert isinstance(found, PromptSend)
    assert found.parent is None


def test_fields_that_nobody_knows_are_ignored() -> None:
    assert read('{"new":[{}],"type":"ping"}') == Ping()


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "{",
        '{"type":"ping"',
        '{"type":"ping"} {}',
        "{'type':'ping'}",
        '{"type":"ping","n":NaN}',
        '{"type":"ping","n":Infinity}',
        '{"type":"ping","n":01}',
        '{"type":"ping","id":"\ud800"}',
        '{"type":"prompt.send","text":"\\ud800"}',
        '{"type":"prompt.send","text":"\\udc00\\ud800"}',
        '{"type":"prompt.send","text":"a\0b"}',
        '{"type":"prompt.send","text":"a\nb"}',
        '{"a":' * 10_000,
        '{"type":"ping","x":' + "[" * 60_000,
        "\ufeff{}",
    ],
    ids=lambda text: repr(text[:24]),
)
def test_what_is_not_json_is_bad_json(text: str) -> None:
    assert refused(text).code == "bad_json"


@pytest.mark.parametrize("nested", ["[" * 30_000 + "]" * 30_000, '{"a":' * 9_000 + "1" + "}" * 9_000])
def test_nesting_that_is_closed_again_overflows_no_stack(nested: str) -> None:
    assert outcome('{"type":"ping","x":' + nested + "}") in {Ping(), "bad_json"}


def test_a_hundred_thousand_levels_are_too_large_for_a_frame() -> None:
    assert refused("[" * 100_000).code == "too_large"


@pytest.mark.parametrize(
    "text, field",
    [
        ("{}", "type"),
        ("[]", None),
        ("[" * 60_000, None),
        ("null", None),
        ('"ping"', None),
        ("1", None),
        ('{"type":"tool.explode"}', "type"),
        ('{"type":5}', "type"),
        ('{"type":null}', "type"),
        ('{"type":"prompt.send"}', "text"),
        ('{"type":"prompt.send","text":5}', "text"),
        ('{"type":"prompt.send","text":null}', "text"),
        ('{"type":"prompt.send","text":["a"]}', "text"),
        ('{"type":"prompt.send","text":""}', "text"),
        ('{"type":"prompt.send","text":" \\n\\t"}', "text"),
        ('{"type":"prompt.send","text":"a\\u0000b"}', "text"),
        ('{"type":"prompt.send","text":"a","options":{"tools":["a","b\\u0000"]}}', "options.tools[1]"),
        (prompt(id=""), "id"),
        (prompt(id="x" * 65), "id"),
        (prompt(id=7), "id"),
        (prompt(id="a\0b"), "id"),
        (prompt(model="a\0b"), "model"),
        (prompt(model=3), "model"),
        (prompt(session="mine"), "session"),
        (prompt(session=ID, parent="x"), "parent"),
        (prompt(attachments=[ID]), "attachments"),
        (prompt(options=[]), "options"),
        (prompt(options={"system": "a\0b"}), "options.system"),
        (prompt(options={"temperature": 3}), "options.temperature"),
        (prompt(options={"temperature": "hot"}), "options.temperature"),
        ('{"type":"prompt.send","text":"a","options":{"temperature":1e999}}', "options.temperature"),
        (prompt(options={"max_output_tokens": 0}), "options.max_output_tokens"),
        (prompt(options={"max_output_tokens": 10**30}), "options.max_output_tokens"),
        ('{"type":"run.follow"}', "run"),
        (f'{{"type":"run.follow","run":"{ID}","after":-1}}', "after"),
        (f'{{"type":"run.follow","run":"{ID}","after":1.5}}', "after"),
        (f'{{"type":"run.follow","run":"{ID}","after":"1"}}', "after"),
        (f'{{"type":"run.follow","run":"{ID}","after":2147483648}}', "after"),
        (f'{{"type":"run.follow","run":"{ID}","after":9223372036854775808}}', "after"),
        (f'{{"type":"run.follow","run":"{ID}","after":1e999}}', "after"),
        (f'{{"type":"run.follow","run":"{ID}","after":{"9" * 5000}}}', "after"),
        (f'{{"type":"run.follow","run":"{ID}","after":true}}', "after"),
        ('{"type":"run.stop","run":7}', "run"),
        ('{"type":"run.stop","run":"' + "0" * 40 + '"}', "run"),
        (f'{{"type":"ack","run":"{ID}"}}', "seq"),
        (f'{{"type":"branch.select","session":"{ID}"}}', "message"),
        (f'{{"type":"message.regenerate","text":"{ID}"}}', "message"),
    ],
    ids=lambda value: str(value)[:48],
)
def test_a_wrong_field_is_bad_frame_and_named(text: str, field: str | None) -> None:
    error = refused(text)
    assert (error.code, error.field) == ("bad_frame", field)
    assert not error.retryable


def test_a_key_given_twice_is_decoded_or_refused_but_harmless() -> None:
    assert outcome('{"type":"ping","id":"a","id":"b"}') in {Ping(id="a"), Ping(id="b"), "bad_frame"}
    twice = outcome('{"type":"ping","type":"prompt.send","text":"a"}')
    assert twice in {"bad_frame", "bad_json"} or isinstance(twice, Ping | PromptSend)


def test_a_hundred_thousand_keys_are_too_many_bytes() -> None:
    assert refused(json.dumps({str(n): n for n in range(100_000)})).code == "too_large"


def test_the_size_is_counted_in_bytes_not_characters() -> None:
    around = len(prompt(text=""))
    assert isinstance(read(prompt(text="x" * (FRAME_BYTES - around)), FRAME_BYTES), PromptSend)
    assert refused(prompt(text="x" * (FRAME_BYTES - around + 1)), FRAME_BYTES).code == "too_large"
    wide = '{"type":"prompt.send","text":"' + "ü" * (FRAME_BYTES // 2) + '"}'
    assert len(wide) < FRAME_BYTES
    assert refused(wide, FRAME_BYTES).code == "too_large"


def test_a_prompt_is_counted_in_characters() -> None:
    assert isinstance(read(prompt(text="ü" * 10), 10), PromptSend)
    assert refused(prompt(text="ü" * 11), 10).code == "too_large"
    with pytest.raises(ChatError, match="at most 10 characters"):
        check_prompt("x" * 11, 10)


@pytest.mark.parametrize(
    "text, id_",
    [
        ('{"type":"nothing","id":"mine"}', "mine"),
        ('{"id":"mine","type":"prompt.send","text":5}', "mine"),
        ('{"id" : "mine", broken', "mine"),
        (r'{"id":"say \"hi\" \u00e9","text":', 'say "hi" é'),
        (r'{"id":"\x","text":', None),
        ('{"id":"mine","x":' + "[" * 50_000, "mine"),
        ('{"id":"mine","text":"' + "x" * FRAME_BYTES + '"}', "mine"),
        ('{"id":"mine","n":NaN}', "mine"),
        ('{"id":"' + "x" * 65 + '"}', None),
        ('{"id":5}', None),
        ('{"id":""}', None),
        ('{"text":"\\"id\\": \\"theirs\\"', None),
        ("[]", None),
        ("", None),
        ("\ud800", None),
        ("[" * 100_000, None),
    ],
    ids=lambda value: str(value)[:24],
)
def test_the_id_of_a_refused_frame_is_found_again(text: str, id_: str | None) -> None:
    assert id_of(text) == id_


@given(st.text() | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_no_text_at_all_raises_anything_but_a_chat_error(text: str) -> None:
    found = outcome(text)
    assert isinstance(found, Operation) or found in ERRORS
    id_of(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(ID),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = [
    "id",
    "text",
    "session",
    "parent",
    "model",
    "attachments",
    "options",
    "message",
    "run",
    "after",
    "seq",
    "before",
]
TYPES = ["prompt.send", "message.regenerate", "run.follow", "run.stop", "session.open", "branch.select", "ack", "ping"]


@given(st.sampled_from(TYPES), st.dictionaries(st.sampled_from(FIELDS), json_values))
def test_fields_of_any_shape_are_taken_or_refused_by_name(type_: str, fields: dict[str, Any]) -> None:
    found = outcome(json.dumps({"type": type_, **fields}))
    assert isinstance(found, Operation) or found in {"bad_frame", "bad_json"}
