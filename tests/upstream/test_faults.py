"""How an answer fails to come, and how a client that leaves is noticed."""

import json
import re
import time

import pytest

from tests.upstream import (
    Scenario,
    UpstreamServer,
    closed_port,
    expected_text,
)
from tests.upstream.raw_client import Client, body_of, events, read_until_cut, text_of


@pytest.mark.parametrize("after", [0, 5])
def test_a_stall_is_silence_on_an_open_connection(up: UpstreamServer, after: int) -> None:
    with Client(up.base_url) as client:
        client.ask(Scenario(stall_after=after))
        client.read_head()
        assert text_of(b"".join(client.read_frame() for _ in range(1 + after))) == expected_text(0, after)
        client.socket.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.reader.read(1)
        assert up.stats.active == 1


@pytest.mark.parametrize("after", [0, 5])
def test_a_cut_is_a_reset(up: UpstreamServer, after: int) -> None:
    came = read_until_cut(up, Scenario(cut_after=after))
    assert came.count(b'{"content":"') == after
    assert not came.endswith(b"0\r\n\r\n")
    assert up.stats.broken == 1


def test_a_cut_before_the_headers(up: UpstreamServer) -> None:
    assert read_until_cut(up, Scenario(cut_after=-1)) == b""


@pytest.mark.parametrize("size", [0, 1, 300, 301])
def test_a_cut_at_any_byte_of_the_body(up: UpstreamServer, size: int) -> None:
    whole = body_of(up, Scenario(seed=5, chunks=9))
    frames = read_until_cut(up, Scenario(seed=5, chunks=9, cut_after_bytes=size)).partition(b"\r\n\r\n")[2]
    body = b""
    while frames:
        length, _, frames = frames.partition(b"\r\n")
        body += frames[: int(length, 16)]
        frames = frames[int(length, 16) + 2 :]
    unnumbered = [re.sub(rb"chatcmpl-\d+", b"", text) for text in (whole, body)]
    assert len(body) == size
    assert unnumbered[0].startswith(unnumbered[1]) or size < 30


def test_a_fin_leaves_the_http_body_open(up: UpstreamServer) -> None:
    with Client(up.base_url) as client:
        client.ask(Scenario(fin_after=3))
        client.read_head()
        frames = [client.read_frame() for _ in range(4)]
        assert text_of(b"".join(frames)) == expected_text(0, 3)
        with pytest.raises(EOFError):
            client.read_frame()
    assert up.stats.broken == 1


def test_an_eof_ends_the_http_body_but_not_the_answer(up: UpstreamServer) -> None:
    body = body_of(up, Scenario(eof_after=3))
    assert text_of(body) == expected_text(0, 3)
    assert b"DONE]\n" not in body
    assert events(body)[-1]["choices"][0]["finish_reason"] is None


def test_close_framing_ends_with_the_connection(up: UpstreamServer) -> None:
    with Client(up.base_url) as client:
        client.ask(Scenario(framing="close"))
        client.read_head()
        assert client.headers["connection"] == "close"
        assert text_of(client.read_body()) == expected_text(0, 20)
    up.wait(lambda stats: stats.finished == 1)


def test_garbage_is_one_event_and_the_answer_goes_on(up: UpstreamServer) -> None:
    blocks = body_of(up, Scenario(garbage_after=3)).split(b"\n\n")
    with pytest.raises(json.JSONDecodeError):
        json.loads(blocks[1 + 3].removeprefix(b"data: "))
    del blocks[1 + 3]
    assert text_of(b"\n\n".join(blocks)) == expected_text(0, 20)


def test_error_objects_in_the_stream(up: UpstreamServer) -> None:
    error = {"message": "no more", "code": "429"}
    body = body_of(up, Scenario(error_after=2, error=error))
    assert events(body)[-1] == {"error": error}
    assert body_of(up, Scenario(error_after=0, error="no")).endswith(b'data: {"error":"no"}\n\n')
    named = body_of(up, Scenario(error_after=2, error=error, error_style="event"))
    assert b'\n\nevent: error\ndata: {"error":{' in named
    assert events(body_of(up, Scenario(error_after=2, error=error, error_style="typed")))[-1] == {
        **error,
        "type": "error",
    }


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
def test_http_errors(up: UpstreamServer, status: int) -> None:
    with Client(up.base_url) as client:
        client.ask(Scenario(status=status, retry_after=1.5, retry_after_ms=20))
        client.read_head()
        assert client.status == status
        assert (client.headers["retry-after"], client.headers["retry-after-ms"]) == ("1.5", "20")
        assert client.headers["x-request-id"]
        assert str(status) in json.loads(client.read_body())["error"]["message"]
    assert up.stats.refused == 1


def test_the_body_of_an_http_error_can_be_anything(up: UpstreamServer) -> None:
    for body, sent in (("<h1>502</h1>", b"<h1>502</h1>"), ({"detail": "x"}, b'{"detail":"x"}')):
        with Client(up.base_url) as client:
            client.ask(Scenario(status=502, body=body))
            client.read_head()
            assert client.read_body() == sent


def test_the_first_tries_of_a_seed_fail(up: UpstreamServer) -> None:
    statuses = []
    with Client(up.base_url) as client:
        for _ in range(4):
            client.ask(Scenario(seed="again", fail_first=2, status=429))
            client.read_head()
            client.read_body()
            statuses.append(client.status)
    assert statuses == [429, 429, 200, 200]
    assert up.stats.tries == {"again": 4}


def test_a_context_error_has_its_code(up: UpstreamServer) -> None:
    with Client(up.base_url) as client:
        client.ask(Scenario(context_error=True))
        client.read_head()
        assert client.status == 400
        assert json.loads(client.read_body())["error"]["code"] == "context_length_exceeded"


def test_a_200_that_is_no_stream(up: UpstreamServer) -> None:
    assert body_of(up, Scenario(html=True)).startswith(b"<!doctype html>")
    assert body_of(up, Scenario(empty_body=True)) == b""
    whole = json.loads(body_of(up, Scenario(json_body=True)))
    assert whole["choices"][0]["message"]["content"] == expected_text(0, 20)


def test_slow_headers(up: UpstreamServer) -> None:
    start = time.monotonic()
    with Client(up.base_url) as client:
        client.ask(Scenario(slow_headers=0.15))
        client.read_head()
        assert 0.14 < time.monotonic() - start < 1


def test_a_closed_port_refuses() -> None:
    with closed_port() as base_url, pytest.raises(ConnectionRefusedError):
        Client(base_url)


@pytest.mark.parametrize(
    "scenario, sent",
    [
        (Scenario(seed=1, slow_headers=60), 0),
        (Scenario(seed=1, first_token_delay=60), 0),
        (Scenario(seed=1, stall_after=3), 3),
        (Scenario(seed=1, chunks=10_000, rate=50), None),
        (Scenario(seed=1, chunks=10_000_000), None),
    ],
)
def test_an_abort_is_seen_within_50_ms(up: UpstreamServer, scenario: Scenario, sent: int | None) -> None:
    client = Client(up.base_url)
    client.ask(scenario)
    up.wait(lambda stats: stats.active == 1)
    if not scenario.slow_headers:
        client.read_head()
        for _ in range(sent or 0):
            client.read_frame()
    left = time.monotonic()
    client.reader.close()
    client.socket.close()
    stats = up.wait(lambda stats: stats.aborted == 1)
    assert stats.active == 0
    assert stats.aborts[0].seed == 1
    assert stats.aborts[0].at - left < 0.05
    assert sent is None or stats.aborts[0].chunks == sent


def test_a_client_that_does_not_read_stops_the_sender(up: UpstreamServer) -> None:
    with Client(up.base_url) as client:
        client.ask(Scenario(seed=1, chunks=200_000))
        client.read_head()
        (connection,) = up._connections
        reply = connection._reply
        assert reply is not None
        deadline, seen = time.monotonic() + 3, -1
        while reply.chunks != seen:  # until nothing moves for 50 ms
            assert time.monotonic() < deadline
            seen = reply.chunks
            time.sleep(0.05)
        assert 0 < seen < 200_000
        assert client.read_frame()
