"""Whatever a client sends, it is told what is wrong with it, and the socket stays."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.rawsocket import BINARY, CLOSE, CONT, PING, PONG, TEXT, RawSocket
from tests.servers import ServerProcess

DEEP = "[" * 30_000
LONG_NUMBER = "9" * 60_000
MANY_KEYS = json.dumps({"type": "ping", "id": "keys", **{f"k{number}": 1 for number in range(5_000)}})

# name → (frame, code, field, re)
ANSWERED: dict[str, tuple[str, str, str | None, str | None]] = {
    "empty": ("", "bad_json", None, None),
    "a space": (" ", "bad_json", None, None),
    "an open brace": ("{", "bad_json", None, None),
    "a word": ("hello", "bad_json", None, None),
    "nested deeply": (DEEP, "bad_frame", None, None),
    "nested deeply inside an operation": (f'{{"type":"ping","id":"deep","x":{DEEP}', "bad_json", None, "deep"),
    "cut off": ('{"type":"ping","id":"cut"', "bad_json", None, "cut"),
    "a trailing comma": ('{"type":"ping","id":"comma",}', "bad_json", None, "comma"),
    "two objects": ('{"type":"ping","id":"one"}{"type":"ping"}', "bad_json", None, "one"),
    "NaN": ('{"type":"ack","id":"nan","run":"%s","seq":NaN}' % ("0" * 32), "bad_json", None, "nan"),
    "a lone surrogate": ('{"type":"prompt.send","id":"half","text":"\\ud800"}', "bad_json", None, "half"),
    "an array": ("[]", "bad_frame", None, None),
    "a number": ("1e999", "bad_frame", None, None),
    "null": ("null", "bad_frame", None, None),
    "no type": ('{"id":"n"}', "bad_frame", "type", "n"),
    "an unknown type": ('{"type":"run.explode","id":"u"}', "bad_frame", "type", "u"),
    "the type of a frame": ('{"type":"run.accepted","id":"u"}', "bad_frame", "type", "u"),
    "a type that is a number": ('{"type":7,"id":"t"}', "bad_frame", "type", "t"),
    "a type that is null": ('{"type":null,"id":"t"}', "bad_frame", "type", "t"),
    "no text": ('{"type":"prompt.send","id":"x"}', "bad_frame", "text", "x"),
    "text that is a number": ('{"type":"prompt.send","id":"x","text":5}', "bad_frame", "text", "x"),
    "text of blanks": ('{"type":"prompt.send","id":"x","text":" \\n"}', "bad_frame", "text", "x"),
    "text with NUL": ('{"type":"prompt.send","id":"x","text":"a\\u0000b"}', "bad_frame", "text", "x"),
    "an id that is a number": ('{"type":"ping","id":5}', "bad_frame", "id", None),
    "an empty id": ('{"type":"ping","id":""}', "bad_frame", "id", None),
    "a long id": (json.dumps({"type": "ping", "id": "x" * 65}), "bad_frame", "id", None),
    "an id with NUL": ('{"type":"ping","id":"a\\u0000b"}', "bad_frame", "id", "a\0b"),
    "a run that is no id": ('{"type":"run.follow","id":"x","run":"../1"}', "bad_frame", "run", "x"),
    "a run that is a list": ('{"type":"run.follow","id":"x","run":[]}', "bad_frame", "run", "x"),
    "no run": ('{"type":"run.stop","id":"x"}', "bad_frame", "run", "x"),
    "a huge seq": ('{"type":"ack","id":"x","run":"%s","seq":1e400}' % ("0" * 32), "bad_frame", "seq", "x"),
    "a seq past all integers": (
        '{"type":"ack","id":"x","run":"' + "0" * 32 + '","seq":' + LONG_NUMBER + "}",
        "bad_frame",
        "seq",
        "x",
    ),
    "attachments": (
        '{"type":"prompt.send","id":"x","text":"a","attachments":["%s"]}' % ("0" * 32),
        "bad_frame",
        "attachments",
        "x",
    ),
    "too many characters": (
        json.dumps({"type": "prompt.send", "id": "x", "text": "a" * 32_001}),
        "too_large",
        None,
        "x",
    ),
    "one byte too many": (
        json.dumps({"type": "ping", "id": "x", "pad": ""})[:-2] + "a" * 65_536,
        "too_large",
        None,
        "x",
    ),
    "one megabyte": ('{"type":"ping","id":"x","pad":"' + "a" * (1024 * 1024 - 40) + '"}', "too_large", None, "x"),
    "bytes that are more than characters": (
        '{"type":"ping","id":"x","pad":"' + "漢" * 22_000 + '"}',
        "too_large",
        None,
        "x",
    ),
}


@pytest.fixture
def raw(server: ServerProcess) -> Iterator[RawSocket]:
    with RawSocket(server.port) as raw:
        assert raw.status == 101
        assert raw.message()["type"] == "hello"
        yield raw
        ping(raw)


def ping(raw: RawSocket) -> None:
    """The socket is open and in step."""
    raw.send(b'{"type":"ping","id":"still here"}')
    assert raw.message() == {"type": "pong", "re": "still here"}


@pytest.mark.parametrize("name", ANSWERED)
def test_what_is_wrong_is_told_and_the_socket_stays(raw: RawSocket, name: str) -> None:
    text, code, field, re = ANSWERED[name]
    raw.send(text.encode())
    error = raw.message()
    assert (error["type"], error["code"], error.get("field"), error.get("re")) == ("error", code, field, re)
    assert error["message"]
    assert error["retryable"] is False


def test_binary_is_not_understood(raw: RawSocket) -> None:
    for payload in (b"", b"\xff\x00", b'{"type":"ping"}', bytes(100_000)):
        raw.send(payload, BINARY)
        assert raw.message()["code"] == "bad_frame"


def test_many_unknown_keys_and_double_keys_are_ignored(raw: RawSocket) -> None:
    raw.send(MANY_KEYS.encode())
    assert raw.message() == {"type": "pong", "re": "keys"}
    raw.send(b'{"type":"ping","type":"ping","id":"a","id":"b"}')
    assert raw.message() == {"type": "pong", "re": "b"}


def test_a_frame_of_exactly_the_limit_is_taken(raw: RawSocket) -> None:
    head, tail = b'{"type":"ping","id":"full","pad":"', b'"}'
    raw.send(head + b"a" * (65_536 - len(head) - len(tail)) + tail)
    assert raw.message() == {"type": "pong", "re": "full"}


def test_fragments_of_one_byte_and_a_ping_between_them(raw: RawSocket) -> None:
    text = '{"type":"ping","id":"漢😀"}'.encode()
    for index, byte in enumerate(text):
        if index == 5:
            raw.send(b"alive?", PING)
        raw.send(bytes([byte]), TEXT if index == 0 else CONT, fin=index == len(text) - 1)
    received = raw.receive()
    assert received == (PONG, b"alive?")
    assert raw.message() == {"type": "pong", "re": "漢😀"}


def test_empty_fragments_and_pings_in_a_row(raw: RawSocket) -> None:
    raw.send(b"", TEXT, fin=False)
    raw.send(b'{"type":"ping"}', CONT, fin=False)
    raw.send(b"", CONT)
    assert raw.message() == {"type": "pong"}
    for number in range(100):
        raw.send(str(number).encode(), PING)
    assert [raw.receive() for _ in range(100)] == [(PONG, str(number).encode()) for number in range(100)]


def test_ten_thousand_fragments(raw: RawSocket) -> None:
    raw.send(b'{"type":"ping","pad":"', fin=False)
    for _ in range(10_000):
        raw.send(b"a", CONT, fin=False)
    raw.send(b'"}', CONT)
    assert raw.message() == {"type": "pong"}


# What breaks the framing itself ends the connection, in each server's own way.
BROKEN: dict[str, tuple[tuple[bytes, int, dict[str, Any]], int]] = {
    "a byte over one megabyte": ((b"a" * (1024 * 1024 + 1), TEXT, {}), 1009),
    "twenty megabytes": ((b"a" * (20 * 1024 * 1024), TEXT, {}), 1009),
    "invalid UTF-8": ((b"\xff\xfe", TEXT, {}), 1007),
    "an encoded surrogate": ((b'{"id":"\xed\xa0\x80"}', TEXT, {}), 1007),
    "an unmasked frame": ((b"{}", TEXT, {"masked": False}), 1002),
    "a reserved bit": ((b"{}", TEXT, {"rsv": 4}), 1002),
    "a reserved opcode": ((b"", 0x3, {}), 1002),
    "a reserved control opcode": ((b"", 0xB, {}), 1002),
    "a continuation of nothing": ((b"", CONT, {}), 1002),
    "a long ping": ((b"a" * 126, PING, {}), 1002),
    "a ping in fragments": ((b"", PING, {"fin": False}), 1002),
    "a close of one byte": ((b"\x03", CLOSE, {}), 1002),
    "a close with a reserved code": ((b"\x03\xed", CLOSE, {}), 1002),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_frame_ends_only_its_own_connection(server: ServerProcess, name: str) -> None:
    (payload, opcode, how), code = BROKEN[name]
    with RawSocket(server.port) as other, RawSocket(server.port) as raw:
        assert (other.message()["type"], raw.message()["type"]) == ("hello", "hello")
        try:
            raw.send(payload, opcode, **how)
        except ConnectionError:
            assert len(payload) > 65_536  # it did not want to hear the rest
        # daphne drops the connection where uvicorn says why.
        assert raw.ending() in ({None, code} if server.kind == "daphne" else {code})
        ping(other)


def test_a_connection_cut_inside_a_frame_leaves_nothing_behind(server: ServerProcess) -> None:
    with RawSocket(server.port) as raw:
        raw.message()
        raw.socket.sendall(b"\x81\xfe\xff")
    with RawSocket(server.port) as raw:
        raw.message()
        raw.send(b'{"type":"prompt.send",', fin=False)
    with RawSocket(server.port) as raw:
        raw.message()
        ping(raw)
