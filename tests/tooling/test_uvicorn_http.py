"""The short way for pieces of a body: uvicorn's own bytes, and never where uvicorn would wait or refuse."""

import asyncio
import weakref
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from chat.management.uvicorn_http import write_now
from tests.tooling.written import Written


def cycle() -> Any:
    made: Any = RequestResponseCycle.__new__(RequestResponseCycle)
    made.disconnected, made.response_complete, made.response_started, made.chunked_encoding = False, False, True, True
    made.flow, made.transport = SimpleNamespace(write_paused=False), Written(data=b"")
    made.scope = {"method": "POST"}
    return made


@given(st.binary(min_size=1, max_size=300))
def test_a_piece_is_what_uvicorn_would_send(data: bytes) -> None:
    short, long = cycle(), cycle()
    assert write_now(weakref.ref(short), data)
    asyncio.run(long.send({"type": "http.response.body", "body": data, "more_body": True}))
    assert short.transport.data == long.transport.data


@pytest.mark.parametrize(
    "hinder",
    [
        lambda made: setattr(made, "disconnected", True),
        lambda made: setattr(made, "response_complete", True),
        lambda made: setattr(made, "response_started", False),
        lambda made: setattr(made, "chunked_encoding", False),
        lambda made: setattr(made.flow, "write_paused", True),
        lambda made: setattr(made.transport, "closing", True),
    ],
    ids=["the client left", "it is whole", "no headers yet", "of a known length", "its buffer is full", "closed"],
)
def test_nothing_is_written_when_the_server_would_wait_or_refuse(hinder: Any) -> None:
    hindered = cycle()
    hinder(hindered)
    assert not write_now(weakref.ref(hindered), b"Hello")
    assert hindered.transport.data == b""


def test_nothing_is_written_of_a_request_that_is_gone() -> None:
    gone = weakref.ref(cycle())
    assert not write_now(gone, b"Hello")
