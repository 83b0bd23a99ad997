"""Stream inside the process: heartbeats by one timer, and nothing left behind however it ends."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from chat.protocol.errors import ChatError
from chat.protocol.operations import PromptSend
from chat.runs.engine import Engine
from chat.runs.owner import Owner
from chat.transports import streaming
from chat.transports.access import Visitor
from chat.transports.desk import Desk
from chat.transports.http import error_response
from chat.transports.hub import Hub
from chat.transports.sse import comes_back
from chat.transports.streaming import WRITE_NOW, Stream, open_stream
from tests.fakes import ScriptedProvider


@pytest_asyncio.fixture
async def desk(engine: Engine) -> AsyncIterator[Desk]:
    yield Desk(engine, Hub(engine))


@pytest.fixture
def visitor(alice: Owner) -> Visitor:
    return Visitor(alice, "alice")


async def begun(desk: Desk, visitor: Visitor) -> Stream:
    accepted = await desk.engine.start(visitor.owner, PromptSend(text="Hello"))
    return await open_stream(desk, visitor, accepted.run)


def nothing_is_left(desk: Desk, visitor: Visitor) -> bool:
    return desk.hub.count(visitor) == 0 and desk.engine.bus.followed == []


async def test_it_works(desk: Desk, visitor: Visitor) -> None:
    stream = await begun(desk, visitor)
    assert desk.hub.count(visitor) == 1
    types = [event.type async for batch in stream.batches() if isinstance(batch, list) for event in batch]
    assert (types[0], types[-1]) == ("run.started", "run.completed")
    assert nothing_is_left(desk, visitor)


async def test_a_heartbeat_comes_whenever_nothing_came(
    desk: Desk, visitor: Visitor, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "HEARTBEAT_SECONDS", 0.05)
    waits = asyncio.Event()
    provider.script = ["Hel", waits, "lo"]
    stream = await begun(desk, visitor)
    silences, text = 0, 0
    async for batch in stream.batches():
        if batch is None:
            silences += 1
            if silences == 3:
                waits.set()
        elif isinstance(batch, list):
            text += sum(event.type == "text.delta" for event in batch)
    assert (silences >= 3, text) == (True, 2)


async def test_no_heartbeat_while_text_comes(
    desk: Desk, visitor: Visitor, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "HEARTBEAT_SECONDS", 0.5)
    provider.script = [step for _ in range(40) for step in ("x", 0.02)]
    stream = await begun(desk, visitor)
    assert None not in [batch async for batch in stream.batches()]


async def test_a_response_that_nobody_began_to_read_leaves_nothing(desk: Desk, visitor: Visitor) -> None:
    """Django drops it unclosed where the client leaves while a middleware has it."""
    stream = await begun(desk, visitor)

    async def content() -> AsyncIterator[bytes]:
        async for _ in stream.batches():
            yield b"x"

    response = stream.respond(content(), "text/plain")
    assert desk.hub.count(visitor) == 1
    del response
    gc.collect()
    await asyncio.sleep(0)
    assert nothing_is_left(desk, visitor)


@pytest.mark.parametrize("compressed", [False, True])
async def test_live_events_are_written_at_once_unless_a_middleware_changes_them(
    desk: Desk, visitor: Visitor, provider: ScriptedProvider, compressed: bool
) -> None:
    written: list[bytes] = []

    def write(data: bytes) -> bool:
        written.append(data)
        return True

    request: Any = HttpRequest()
    request.scope = {"extensions": {WRITE_NOW: write}}
    provider.script = [step for number in range(5) for step in (0.02, f"{number}")]
    stream = await begun(desk, visitor)
    stream.push(request, lambda event: event.data.encode())

    async def content() -> AsyncIterator[bytes]:
        async for batch in stream.batches():
            assert isinstance(batch, list)
            yield b"".join(event.data.encode() for event in batch)

    response = stream.respond(content(), "text/plain")
    if compressed:
        response["Content-Encoding"] = "gzip"
    read = [piece async for piece in aiter(response)]
    assert bool(written) != compressed
    assert sum(piece.count(b'"part":0') for piece in written + read) == 5


async def test_a_server_that_stops_ends_streams_at_once(
    desk: Desk, visitor: Visitor, provider: ScriptedProvider
) -> None:
    waits = asyncio.Event()
    provider.script = ["Hel", waits, "lo"]
    stream, late = await begun(desk, visitor), None
    async for _ in stream.batches():
        desk.hub.stop()
        late = await begun(desk, visitor)  # it was on its way when the server was told
    assert late is not None
    assert not late.over
    assert [batch async for batch in late.batches()] == []
    assert nothing_is_left(desk, visitor)
    waits.set()


@pytest.mark.parametrize(
    "code, last_id, accept, status",
    [
        ("unavailable", "x:1", "text/event-stream", 200),
        ("rate_limited", "x:1", "text/event-stream", 200),
        ("unavailable", "", "text/event-stream", 503),
        ("unavailable", "x:1", "*/*", 503),
        ("not_found", "x:1", "text/event-stream", 404),
    ],
)
async def test_eventsource_that_comes_back_is_told_to_wait_for_what_will_pass(
    code: str, last_id: str, accept: str, status: int
) -> None:
    async def refuse(request: HttpRequest) -> HttpResponse:
        return error_response(ChatError(code, "No.", retry_after_s=3))

    request = RequestFactory().get("/", headers={"Last-Event-ID": last_id, "Accept": accept})
    response: Any = await comes_back(refuse)(request)
    assert response.status_code == status
    if status == 200:
        (line,) = response.content.splitlines()[:1]
        assert 3000 <= int(line.removeprefix(b"retry: ")) <= 4500
