"""One stream within this process: its silences, its early end, and what its run hears of that."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.http import StreamingHttpResponse
from django.test import AsyncRequestFactory
from pytest_django.fixtures import Settings

from chat.protocol.errors import ChatError
from chat.runs.client_turn import ClientTurn, Said
from chat.runs.engine import Engine
from chat.runs.owner import Owner
from chat.transports import streaming
from chat.transports.access import Visitor
from chat.transports.aisdk.choice import Choice
from chat.transports.aisdk.encoder import BROKEN
from chat.transports.aisdk.grace import grace_of
from chat.transports.aisdk.reply import Answer, refusal, stream
from chat.transports.desk import Desk
from chat.transports.hub import Hub
from tests.fakes import ScriptedProvider
from tests.runs.helpers import get_run, until


@pytest.fixture
def gate(provider: ScriptedProvider) -> asyncio.Event:
    gate = asyncio.Event()
    provider.script = ["Hel", gate, "lo"]
    return gate


class Read:
    def __init__(self, engine: Engine, owner: Owner) -> None:
        self.at = Desk(engine, Hub(engine))
        self.visitor = Visitor(owner, "alice")
        self.written: list[bytes] = []

    async def begin(self, choice: Choice) -> Answer:
        started = await self.at.engine.start(self.visitor.owner, ClientTurn(said=(Said("user", "Hi"),)))
        answer = Answer(started.run, started.message)
        request = AsyncRequestFactory().post("/api/chat")
        self.response: StreamingHttpResponse = await stream(request, self.at, self.visitor, choice, answer)
        self.pieces: AsyncIterator[bytes] = aiter(self.response)
        return answer

    async def until(self, words: bytes) -> None:
        while words not in b"".join(self.written):
            self.written.append(await anext(self.pieces))

    async def leave(self, answer: Answer) -> None:
        """As Django does it when the connection is gone: the response is closed in a thread, read or not."""
        await asyncio.to_thread(self.response.close)
        await until(lambda: grace_of(self.at.engine).left(answer.run))

    async def to_the_end(self) -> bytes:
        async for piece in self.pieces:
            self.written.append(piece)
        return b"".join(self.written)


@pytest.fixture
def read(engine: Engine, alice: Owner) -> Read:
    return Read(engine, alice)


async def has_ended(answer: Answer, status: str) -> bool:
    """Asked of the database: to follow it would keep it alive."""
    return (await get_run(answer.run)).status == status


@pytest.mark.parametrize("protocol, silence", [("ui", b": keep-alive\n\n"), ("data", b"\n")])
async def test_silence_is_filled(
    read: Read, gate: asyncio.Event, monkeypatch: pytest.MonkeyPatch, protocol: Any, silence: bytes
) -> None:
    monkeypatch.setattr(streaming, "HEARTBEAT_SECONDS", 0.02)
    await read.begin(Choice(protocol))
    await read.until(b"Hel")
    for _ in range(3):
        while (piece := await anext(read.pieces)) != silence:
            read.written.append(piece)
    gate.set()
    assert b'"lo"' in await read.to_the_end()


async def test_plain_text_has_no_room_for_it(read: Read, gate: asyncio.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "HEARTBEAT_SECONDS", 0.01)
    await read.begin(Choice("text"))
    await read.until(b"Hel")
    asyncio.get_running_loop().call_later(0.1, gate.set)
    assert await read.to_the_end() == b"Hello"
    assert all(read.written)


@pytest.mark.parametrize("protocol", ["ui", "data"])
async def test_a_stream_that_ends_before_its_run_says_so(read: Read, gate: asyncio.Event, protocol: Any) -> None:
    await read.begin(Choice(protocol))
    await read.until(b"Hel")
    (reading,) = read.at.hub._sockets[read.visitor.owner.requester]
    reading.sign_out()
    assert BROKEN.encode() in await read.to_the_end()
    assert read.at.hub.count(read.visitor) == 0


async def test_plain_text_breaks_off(read: Read, gate: asyncio.Event) -> None:
    await read.begin(Choice("text"))
    await read.until(b"Hel")
    (reading,) = read.at.hub._sockets[read.visitor.owner.requester]
    reading.sign_out()
    with pytest.raises(asyncio.CancelledError):
        await read.to_the_end()


async def test_the_last_reader_takes_the_run_along_and_no_other(
    read: Read, engine: Engine, alice: Owner, gate: asyncio.Event, settings: Settings
) -> None:
    settings.CHAT_AISDK_GRACE = 0.05
    answer = await read.begin(Choice("ui"))
    other = await engine.follow(alice, answer.run)
    await read.until(b"Hel")
    await read.leave(answer)
    await asyncio.sleep(0.3)  # no condition can be waited for where nothing may happen
    assert (await get_run(answer.run)).ended is None
    other.close()
    await until(lambda: has_ended(answer, "stopped"))
    await until(lambda: not grace_of(engine).left(answer.run))


async def test_a_response_that_nobody_reads_leaves_its_run(
    read: Read, engine: Engine, gate: asyncio.Event, settings: Settings
) -> None:
    settings.CHAT_AISDK_GRACE = 0.05
    answer = await read.begin(Choice("ui"))
    await read.leave(answer)
    await until(lambda: has_ended(answer, "stopped"))


async def test_a_run_that_ended_is_nothing_to_wait_for(read: Read, engine: Engine, gate: asyncio.Event) -> None:
    gate.set()
    answer = await read.begin(Choice("ui"))
    await read.to_the_end()
    assert not grace_of(engine).left(answer.run)


async def test_while_it_is_unknown_who_follows_nothing_is_stopped(
    read: Read, engine: Engine, gate: asyncio.Event, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CHAT_AISDK_GRACE = 0.02
    asked: list[str] = []

    async def unknown(run: str) -> bool | None:
        asked.append(run)
        return None

    monkeypatch.setattr(engine.bus, "is_followed", unknown)
    answer = await read.begin(Choice("ui"))
    await read.until(b"Hel")
    await read.leave(answer)
    await until(lambda: len(asked) > 2)
    assert (await get_run(answer.run)).ended is None
    gate.set()
    await until(lambda: has_ended(answer, "completed"))
    await until(lambda: not grace_of(engine).left(answer.run))


def test_a_refusal_has_the_headers_of_its_status() -> None:
    busy = refusal(ChatError("rate_limited", "Too much.", retry_after_s=7))
    assert (busy.status_code, busy.content, busy["Retry-After"]) == (429, b"Too much.", "7")
    assert busy["Content-Type"] == "text/plain; charset=utf-8"


async def test_who_may_only_read_does_not_end_a_run_by_leaving(read: Read, gate: asyncio.Event) -> None:
    started = await read.at.engine.start(read.visitor.owner, ClientTurn(said=(Said("user", "Hi"),)))
    answer = Answer(started.run, started.message)
    only_reads = Visitor(read.visitor.owner, "alice", may_write=False)
    _response = await stream(AsyncRequestFactory().get("/api/chat"), read.at, only_reads, Choice("ui"), answer)
    (reading,) = read.at.hub._sockets[only_reads.owner.requester]
    reading.sign_out()
    assert not grace_of(read.at.engine).left(answer.run)
    gate.set()


async def test_whom_a_stopping_server_cuts_off_has_not_left(read: Read, gate: asyncio.Event) -> None:
    answer = await read.begin(Choice("ui"))
    await read.until(b"Hel")
    read.at.hub.stop()
    await read.to_the_end()
    assert not grace_of(read.at.engine).left(answer.run)
    gate.set()
    await until(lambda: has_ended(answer, "completed"))
