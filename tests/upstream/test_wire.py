"""How a whole answer is put on the wire, and what is in it, byte by byte."""

import gzip
import json
import re
from typing import Any

import pytest

from tests.upstream import (
    Scenario,
    ToolCall,
    UpstreamServer,
    answer,
    expected_text,
)
from tests.upstream.raw_client import Client, body_of, deltas, events, text_of


def test_a_plain_answer_has_role_text_finish_and_done(up: UpstreamServer) -> None:
    body = body_of(up, Scenario(seed=7, chunks=30))
    assert text_of(body) == expected_text(7, 30) == "".join(answer(7, 30))
    *_, finish, done = events(body)
    assert deltas(body)[0]["role"] == "assistant"
    assert finish["choices"][0] == {"index": 0, "delta": {}, "finish_reason": "stop"}
    assert done is None
    assert up.stats.finished == 1


def test_one_write_per_event(up: UpstreamServer) -> None:
    with Client(up.base_url) as client:
        client.ask(Scenario(chunks=5))
        client.read_head()
        frames = list(iter(client.read_frame, b""))
    assert len(frames) == 5 + 3
    assert all(frame.count(b"\n\n") == 1 and frame.endswith(b"\n\n") for frame in frames)


def test_byte_mode_writes_single_bytes(up: UpstreamServer) -> None:
    scenario = Scenario(chunks=4, write="byte", framing="close")
    with Client(up.base_url) as client:
        client.ask(scenario)
        reads = list(iter(lambda: client.socket.recv(1), b""))
    assert text_of(b"".join(reads).partition(b"\r\n\r\n")[2]) == scenario.text
    with Client(up.base_url) as client:
        client.ask(Scenario(chunks=4, write="byte"))
        client.read_head()
        frames = list(iter(client.read_frame, b""))
    assert {len(frame) for frame in frames} == {1}


def test_burst_mode_writes_several_events_at_once(up: UpstreamServer) -> None:
    with Client(up.base_url) as client:
        client.ask(Scenario(chunks=10, write="burst", burst=4))
        client.read_head()
        frames = list(iter(client.read_frame, b""))
    assert [frame.count(b"\n\n") for frame in frames] == [4, 4, 4, 1]
    assert text_of(b"".join(frames)) == expected_text(0, 10)


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_line_ends(up: UpstreamServer, line_end: Any) -> None:
    body = body_of(up, Scenario(chunks=5, line_end=line_end))
    assert body.endswith(f"data: [DONE]{line_end}{line_end}".encode())
    assert text_of(body.replace(line_end.encode(), b"\n")) == expected_text(0, 5)


def test_bom_comments_no_space_and_multi_line_data(up: UpstreamServer) -> None:
    body = body_of(up, Scenario(chunks=5, bom=True, comments=True, no_space=True, multi_line_data=True))
    assert body.startswith(b"\xef\xbb\xbf: keep-alive\ndata:{")
    blocks = body.removeprefix(b"\xef\xbb\xbf").decode().split("\n\n")[:-1]
    assert all(block.startswith(": keep-alive\ndata:") for block in blocks)
    assert all(block.count("\ndata:") == 2 for block in blocks[:-1])
    lines = [re.findall("^data:(.*)$", block.replace("\x85", ""), re.MULTILINE) for block in blocks[:-1]]
    chunks = [json.loads("\n".join(data)) for data in lines]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == expected_text(0, 5)


def test_escape_writes_ascii_only(up: UpstreamServer) -> None:
    body = body_of(up, Scenario(chunks=40, escape=True))
    assert body.isascii()
    assert text_of(body) == expected_text(0, 40)


def test_gzip_is_flushed_per_event(up: UpstreamServer) -> None:
    with Client(up.base_url) as client:
        client.ask(Scenario(chunks=5, gzip=True))
        client.read_head()
        assert client.headers["content-encoding"] == "gzip"
        frames = list(iter(client.read_frame, b""))
    assert len(frames) >= 5 + 3
    assert text_of(gzip.decompress(b"".join(frames))) == expected_text(0, 5)


def test_content_type_can_be_wrong(up: UpstreamServer) -> None:
    with Client(up.base_url) as client:
        client.ask(Scenario(content_type="text/plain"))
        client.read_head()
        assert client.headers["content-type"] == "text/plain"


@pytest.mark.parametrize("finish", ["length", "content_filter", None])
def test_finish_reasons(up: UpstreamServer, finish: str | None) -> None:
    assert events(body_of(up, Scenario(finish=finish)))[-2]["choices"][0]["finish_reason"] == finish


def test_done_can_be_missing(up: UpstreamServer) -> None:
    assert events(body_of(up, Scenario(done=False)))[-1]["choices"][0]["finish_reason"] == "stop"


def test_usage_last_comes_only_when_asked_for(up: UpstreamServer) -> None:
    assert b"usage" not in body_of(up, Scenario())
    last = events(body_of(up, Scenario(chunks=9, reasoning=2), stream_options={"include_usage": True}))[-2]
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 11
    assert last["usage"]["completion_tokens_details"] == {"reasoning_tokens": 2}


def test_usage_in_the_finish_chunk_in_a_chunk_with_a_choice_or_never(up: UpstreamServer) -> None:
    finish = events(body_of(up, Scenario(usage="in_finish")))[-2]
    assert finish["choices"][0]["finish_reason"] == "stop"
    assert finish["usage"]["completion_tokens"] == 20
    extra = events(body_of(up, Scenario(usage="nonempty")))[-2]
    assert extra["choices"][0]["finish_reason"] is None
    assert extra["usage"]["completion_tokens"] == 20
    assert b"usage" not in body_of(up, Scenario(usage="none"), stream_options={"include_usage": True})


def test_a_huge_chunk_is_one_delta(up: UpstreamServer) -> None:
    scenario = Scenario(chunks=2, huge_chunk=1_000_000)
    body = body_of(up, scenario)
    assert max(len(delta.get("content", "")) for delta in deltas(body)) == 1_000_000
    assert text_of(body) == scenario.text


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_comes_first(up: UpstreamServer, field: Any) -> None:
    scenario = Scenario(chunks=3, reasoning=4, reasoning_field=field)
    body = body_of(up, scenario)
    assert [field in delta for delta in deltas(body)[1:-1]] == [True] * 4 + [False] * 3
    assert text_of(body, field) == scenario.reasoning_text != ""
    assert text_of(body) == expected_text(0, 3)


def test_null_fields_change_no_text(up: UpstreamServer) -> None:
    chunks = events(body_of(up, Scenario(null_fields=True)))[:-1]
    choices = [choice for chunk in chunks for choice in chunk["choices"] or []]
    assert any(chunk["choices"] is None for chunk in chunks)
    assert any(choice.get("delta") is None for choice in choices)
    assert "".join((choice.get("delta") or {}).get("content") or "" for choice in choices) == expected_text(0, 20)


def test_a_duplicate_and_surrogate_halves_are_in_the_expected_text(up: UpstreamServer) -> None:
    scenario = Scenario(seed=2, chunks=6, duplicate=2, surrogate_halves=True)
    pieces = answer(2, 6)
    body = body_of(up, scenario)
    assert b'{"content":"\\ud83d"}' in body
    assert b'{"content":"\\ude00"}' in body
    merged = text_of(body).encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    assert merged == scenario.text
    assert scenario.text == "".join([pieces[0], "😀", *pieces[1:3], pieces[2], *pieces[3:], "😀"])


def test_a_refusal_is_its_own_field(up: UpstreamServer) -> None:
    body = body_of(up, Scenario(chunks=3, refusal=True))
    assert text_of(body, "refusal") == expected_text(0, 3)
    assert text_of(body) == ""


CALLS = (ToolCall("clock", '{"zone": "UTC"}'), ToolCall("sum", '{"of": [1, 2, 3]}'))


@pytest.mark.parametrize("style", ["split", "interleaved", "whole", "repeat"])
def test_tool_calls_come_in_every_style(up: UpstreamServer, style: Any) -> None:
    body = body_of(up, Scenario(tool_calls=CALLS, tool_style=style, tool_text=2))
    assert text_of(body) == expected_text(0, 2)
    assert events(body)[-2]["choices"][0]["finish_reason"] == "tool_calls"
    calls = [call for delta in deltas(body) for call in delta.get("tool_calls", [])]
    for index, wanted in enumerate(CALLS):
        mine = [call for call in calls if call["index"] == index]
        assert "".join(call["function"]["arguments"] for call in mine) == wanted.arguments
        assert {call["function"]["name"] for call in mine if "name" in call["function"]} == {wanted.name}
        assert sum("id" in call for call in mine) == (len(mine) if style == "repeat" else 1)
    order = [call["index"] for call in calls]
    assert (order == sorted(order)) == (style != "interleaved")


def test_after_the_tool_results_comes_the_text(up: UpstreamServer) -> None:
    user = {"role": "user", "content": Scenario(tool_calls=CALLS, tool_rounds=2).prompt}
    called, result = {"role": "assistant", "tool_calls": [{}]}, {"role": "tool", "content": "3"}
    endings = []
    for rounds in range(3):
        body = body_of(up, Scenario(), messages=[user, *[called, result] * rounds])
        endings.append(events(body)[-2]["choices"][0]["finish_reason"])
    assert endings == ["tool_calls", "tool_calls", "stop"]
