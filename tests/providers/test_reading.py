"""Bytes in, deltas out: every shape of chunk that servers were seen to send, and every place to cut it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.providers.base import Delta, ReasoningDelta, TextDelta, Usage
from chat.providers.reading import Reading
from tests.providers.conftest import Heard

SCRIPTS = [
    *(
        "😀",
        "👩\u200d👩\u200d👧\u200d👦",
        "🏳️\u200d🌈",
        "é",
        "e\u0301",
        "中文",
        "日本語",
        "한국어",
        "ก็",
        "नमस्ते",
        "مرحبا",
        "שלום",
    ),
    *("𝔘𝔫𝔦", "𠜎", "🇨🇿", "👍🏽"),
    *(chr(0x1F300 + at) for at in range(100)),
    *(chr(0x4E00 + at * 7) for at in range(90)),
]


def event(delta: Any = None, finish: str | None = None, *, ascii_only: bool = False, **fields: Any) -> bytes:
    chunk = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **fields}
    return data(json.dumps(chunk, ensure_ascii=ascii_only))


def data(payload: str) -> bytes:
    return f"data: {payload}\n\n".encode("utf-8", "surrogatepass")


def say(text: str, *, ascii_only: bool = False) -> bytes:
    return event({"content": text}, ascii_only=ascii_only)


END = event({}, "stop") + data("[DONE]")


def read(*reads: bytes) -> tuple[Heard, Reading]:
    """As the client does it: feed until done or failed, then the end."""
    reading, heard = Reading(), Heard()
    for part in reads:
        heard.append(reading.feed(part))
        if reading.done or reading.failure:
            break
    heard.append(reading.end())
    if reading.failure is None:
        heard.append(reading.closing())
    return heard, reading


def failure(*reads: bytes) -> str:
    failed = read(*reads)[1].failure
    assert failed is not None
    return failed.code


def test_it_works() -> None:
    heard, _ = read(event({"role": "assistant", "content": ""}), say("Hel"), say("lo"), END)
    assert heard.text == "Hello"
    assert heard.finish == "stop"


def test_deltas_of_one_read_are_merged_until_the_kind_changes() -> None:
    think = event({"reasoning_content": "hm"})
    heard, _ = read(think + think + say("a") + say("b") + think, END)
    assert heard[0] == [ReasoningDelta("hmhm"), TextDelta("ab"), ReasoningDelta("hm")]


@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize("eol", [b"\n", b"\r\n", b"\r"])
def test_every_character_survives_a_cut_at_every_byte(ascii_only: bool, eol: bytes) -> None:
    for text in SCRIPTS:
        stream = (say(text, ascii_only=ascii_only) + END).replace(b"\n", eol)
        for at in range(len(stream) - len(END) + 1):
            assert read(stream[:at], stream[at:])[0].text == text


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.integers(0, 10_000), st.booleans())
def test_any_text_as_deltas_of_one_utf16_unit_comes_out_whole(text: str, cut: int, one_read: bool) -> None:
    units = text.encode("utf-16-le")
    halves = [units[at : at + 2].decode("utf-16-le", "surrogatepass") for at in range(0, len(units), 2)]
    events = [say(half, ascii_only=True) for half in halves]
    stream = b"".join([*events, END])
    cut %= len(stream)
    heard, _ = read(stream[:cut], stream[cut:]) if one_read else read(*events, END)
    assert heard.text == text.replace("\x00", "\ufffd")


def test_half_an_emoji_alone_becomes_a_replacement_character() -> None:
    high, low = say("a\ud83d", ascii_only=True), say("\ude00b", ascii_only=True)
    assert read(high, say("x"), END)[0].text == "a\ufffdx"
    assert read(low, END)[0].text == "\ufffdb"
    assert read(high, high, END)[0].text == "a\ufffda\ufffd"
    assert read(high, event({"reasoning": "r"}), low, END)[0].text == "a😀b"


def test_nul_and_broken_utf8_become_replacement_characters() -> None:
    assert read(say("a\x00b"), END)[0].text == "a\ufffdb"
    assert read(say("a").replace(b'"a"', b'"a\xffb"'), END)[0].text == "a\ufffdb"


@pytest.mark.parametrize(
    "odd",
    [
        {"choices": None},
        {"choices": []},
        {"choices": "none"},
        {"choices": [None]},
        {"choices": [{"index": 0, "delta": None}]},
        {"choices": [{"delta": {"content": None}, "logprobs": {"content": []}}]},
        {"choices": [{"delta": {"content": 7, "tool_calls": [{"index": 0}]}}]},
        {"choices": [{"index": 1, "delta": {"content": "of another answer"}}]},
        {"created": "yesterday", "system_fingerprint": None, "usage": None, "x": [[[1]]]},
        {"usage": "many"},
        {},
    ],
)
def test_odd_chunks_are_no_text_and_no_error(odd: dict[str, Any]) -> None:
    heard, _ = read(say("a"), data(json.dumps(odd)), say("b"), END)
    assert heard.text == "ab"
    assert heard.finish == "stop"


def test_a_list_of_content_parts_is_its_text() -> None:
    parts = [{"type": "text", "text": "a"}, "b", {"type": "image"}, {"type": "text", "text": None}]
    assert read(event({"content": parts}), END)[0].text == "ab"


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_is_told_apart_from_text(field: str) -> None:
    heard, _ = read(event({field: "hm", "content": None}), event({field: None, "content": "a"}), END)
    assert (heard.reasoning, heard.text) == ("hm", "a")


def test_a_refusal_is_text() -> None:
    assert read(event({"refusal": "I won't."}), END)[0].text == "I won't."


@pytest.mark.parametrize(
    "reason, told",
    [
        ("stop", "stop"),
        ("eos", "stop"),
        ("tool_calls", "stop"),
        ("function_call", "stop"),
        ("length", "length"),
        ("max_tokens", "length"),
        ("content_filter", "content_filter"),
    ],
)
def test_finish_reasons(reason: str, told: str) -> None:
    assert read(say("a"), event({}, reason), data("[DONE]"))[0].finish == told


def test_a_filter_that_left_no_text_is_a_failure() -> None:
    assert failure(event({"reasoning": "hm"}), event({}, "content_filter"), data("[DONE]")) == "content_filtered"


USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 2}}


@pytest.mark.parametrize(
    "reads",
    [
        [event({}, "stop"), data(json.dumps({"choices": [], "usage": USAGE}))],
        [event({}, "stop"), event({}, None, usage=USAGE)],
        [event({}, "stop", usage=USAGE)],
        [event({"content": "b"}, None, usage={"prompt_tokens": 1}), event({}, "stop", usage=USAGE)],
    ],
    ids=["last", "nonempty", "in the finish chunk", "in every chunk"],
)
def test_usage_is_found_wherever_it_comes(reads: list[bytes]) -> None:
    deltas: list[Delta] = read(say("a"), *reads, data("[DONE]"))[0].deltas
    assert deltas[-2] == Usage(input_tokens=3, output_tokens=5, reasoning_tokens=2)


def test_usage_that_no_column_holds_is_cut_to_what_one_does() -> None:
    usage = {"prompt_tokens": -1, "completion_tokens": 10**20, "completion_tokens_details": {"reasoning_tokens": 2**40}}
    assert read(say("a"), event({}, "stop", usage=usage))[0].deltas[-2] == Usage(
        input_tokens=0, output_tokens=2**31 - 1, reasoning_tokens=2**31 - 1
    )


def test_no_usage_is_no_delta() -> None:
    assert read(say("a"), END)[0].usage is None


def test_done_may_be_missing_but_not_the_finish_reason() -> None:
    assert read(say("a"), event({}, "stop"))[0].finish == "stop"
    assert failure(say("a")) == "upstream_cut"
    assert failure(say("a"), data("[DONE]")) == "upstream_cut"


def test_a_last_event_without_blank_line_is_read_and_half_of_one_is_a_cut() -> None:
    assert read(say("a") + event({}, "stop")[:-2])[0].finish == "stop"
    assert failure(say("a") + event({}, "stop")[:-9]) == "upstream_cut"
    assert read(say("a") + event({}, "stop") + b'data: {"choi')[0].finish == "stop"


@pytest.mark.parametrize("body", [b"", b"<html>502</html>", b'{"choices":[{"message":{"content":"a"}}]}', b"ok"])
def test_a_body_that_is_no_stream_is_garbage(body: bytes) -> None:
    assert failure(body) == "upstream_garbage"


def test_an_error_body_with_status_200_is_that_error() -> None:
    assert failure(b'{"error":{"message":"no","code":"insufficient_quota"}}') == "upstream_rate_limited"


@pytest.mark.parametrize(
    "payload", ["{", "not json", "[1]", '"text"', "{" * 5000 + "}", "[" * 100_000, '{"error":' + "[" * 5000]
)
def test_an_event_that_is_no_object_is_garbage_after_the_text_before_it(payload: str) -> None:
    heard, reading = read(say("a") + data(payload) + END)
    assert heard.text == "a"
    assert reading.failure is not None
    assert reading.failure.code == "upstream_garbage"


@pytest.mark.parametrize(
    "payload, code",
    [
        ({"error": {"message": "busy", "type": "server_error"}}, "upstream_unavailable"),
        ({"error": "text"}, "upstream_unavailable"),
        ({"error": {"code": 429, "message": "slow down"}}, "upstream_rate_limited"),
        ({"error": {"code": "429"}}, "upstream_rate_limited"),
        ({"error": {"message": "half an emoji: \ud83d"}}, "upstream_unavailable"),
        ({"error": {"message": "x", "param": 10**40}}, "upstream_unavailable"),
        ({"error": {"code": "rate_limit_exceeded"}}, "upstream_rate_limited"),
        ({"error": {"code": "invalid_api_key"}}, "upstream_auth"),
        ({"error": {"code": "context_length_exceeded"}}, "context_too_long"),
        ({"error": {"message": "maximum context length is 8192"}}, "context_too_long"),
        ({"error": {"code": "content_filter"}}, "content_filtered"),
        ({"error": {"type": "invalid_request_error"}}, "upstream_bad_request"),
        ({"error": {"code": 502}, "choices": [{"delta": {}, "finish_reason": "error"}]}, "upstream_unavailable"),
        ({"type": "error", "code": "rate_limit_exceeded"}, "upstream_rate_limited"),
        ({"object": "error", "message": "no", "code": 401}, "upstream_auth"),
    ],
)
def test_an_error_object_in_the_stream_maps_by_its_code(payload: dict[str, Any], code: str) -> None:
    heard, reading = read(say("a") + data(json.dumps(payload)))
    assert heard.text == "a"
    assert reading.failure is not None
    assert reading.failure.code == code


@pytest.mark.parametrize("payload", [b'{"error":{"message":"x"}}', b'{"message":"x"}', b"overloaded", b"{}"])
def test_an_event_named_error_is_one(payload: bytes) -> None:
    assert failure(say("a"), b"event: error\ndata: " + payload + b"\n\n") == "upstream_unavailable"
