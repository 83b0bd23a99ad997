"""The short way for text frames: the bytes are those of websockets, and never sent past the server's own word."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.protocol import State
from websockets.server import ServerProtocol

from chat.management.uvicorn_socket import UvicornSocket, text_frame
from tests.tooling.written import Written


@given(st.text(max_size=300) | st.sampled_from([size * "x" for size in (125, 126, 65_535, 65_536, 70_000)]))
def test_a_frame_is_what_websockets_would_send(text: str) -> None:
    protocol = ServerProtocol()
    protocol.state = State.OPEN
    protocol.send_text(text.encode())
    assert text_frame(text) == b"".join(protocol.data_to_send())


def socket() -> Any:
    made: Any = UvicornSocket.__new__(UvicornSocket)
    made.handshake_complete, made.close_sent = True, False
    made.writable, made.transport = asyncio.Event(), Written(data=b"")
    made.writable.set()
    return made


def test_it_works() -> None:
    open_socket = socket()
    assert open_socket.send_now("Hello")
    assert open_socket.transport.data == b"\x81\x05Hello"


@pytest.mark.parametrize(
    "hinder",
    [
        lambda made: made.pause_writing(),
        lambda made: setattr(made, "handshake_complete", False),
        lambda made: setattr(made, "close_sent", True),
        lambda made: setattr(made.transport, "closing", True),
    ],
    ids=["its buffer is full", "no handshake", "closed by us", "closed by the client"],
)
def test_nothing_is_written_when_the_server_would_wait_or_refuse(hinder: Any) -> None:
    hindered = socket()
    hinder(hindered)
    assert not hindered.send_now("Hello")
    assert hindered.transport.data == b""
