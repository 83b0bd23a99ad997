"""Races of one socket that no client can time from outside: the consumer itself, in this process."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from channels.testing import WebsocketCommunicator
from pytest_django.fixtures import Settings

from chat.protocol.operations import PromptSend, RunFollow
from chat.runs import history, process
from chat.runs.engine import Engine
from chat.runs.notices import RunBegan, SessionNotice
from chat.runs.owner import Owner
from chat.transports import desk
from chat.transports.access import Visitor
from chat.transports.hub import Hub
from chat.transports.websocket import ChatConsumer
from tests.fakes import ScriptedProvider
from tests.waiting import until

Frame = dict[str, Any]


class Socket:
    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.wire = WebsocketCommunicator(ChatConsumer.as_asgi(), "/ws/chat/")

    async def ask(self, type_: str, **fields: Any) -> None:
        await self.wire.send_to(json.dumps({"type": type_, **fields}))

    async def until(self, type_: str) -> list[Frame]:
        frames: list[Frame] = []
        while not frames or frames[-1]["type"] != type_:
            frames.append(json.loads(await self.wire.receive_from(timeout=10)))
        return frames

    async def accepted(self, until: str) -> Frame:
        await self.ask("prompt.send", text="Hello")
        return next(frame for frame in await self.until(until) if frame["type"] == "run.accepted")

    async def quiet(self) -> list[str]:
        """The types of the frames up to the reply to a ping, which notices that were heard before precede."""
        await self.ask("ping")
        return [frame["type"] for frame in await self.until("pong")][:-1]


@pytest_asyncio.fixture
async def socket(engine: Engine, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> AsyncIterator[Socket]:
    settings.CHAT_AUTO_TITLE = False
    hub = Hub(engine)
    await hub.open()
    monkeypatch.setattr(desk, "_desk", desk.Desk(engine, hub))
    monkeypatch.setattr(desk, "_closed", False)  # as another test may have left it
    socket = Socket(hub)
    await socket.wire.connect()
    await socket.until("hello")
    yield socket
    await socket.wire.disconnect()
    await hub.close()


def consumer(engine: Engine, owner: Owner) -> ChatConsumer:
    found = ChatConsumer()
    found.engine, found.visitor = engine, Visitor(owner, "Alice", None)
    return found


async def test_a_late_notice_does_not_begin_an_ended_run_anew(socket: Socket, engine: Engine) -> None:
    run = await socket.accepted("run.completed")
    await socket.quiet()
    socket.hub.heard(RunBegan(run["session"], run["run"]))
    assert await socket.quiet() == []
    await until(lambda: not engine.bus.followed, 10)
    assert await socket.quiet() == []


async def test_a_late_notice_does_not_follow_what_was_unfollowed(
    socket: Socket, engine: Engine, provider: ScriptedProvider
) -> None:
    provider.script = ["a", asyncio.Event()]
    run = await socket.accepted("text.delta")
    await socket.ask("run.unfollow", run=run["run"])
    await socket.until("ok")
    socket.hub.heard(RunBegan(run["session"], run["run"]))
    await socket.quiet()
    assert not engine.bus.followed


async def test_what_changed_while_a_chat_session_was_read_is_told_after_it(
    socket: Socket, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = (await socket.accepted("run.completed"))["session"]
    await socket.quiet()
    reading, read_on, read = threading.Event(), threading.Event(), history.branch

    def slowly(*args: Any, **fields: Any) -> Any:
        reading.set()
        read_on.wait(10)
        return read(*args, **fields)

    monkeypatch.setattr(history, "branch", slowly)
    await socket.ask("session.open", session=session)
    await asyncio.to_thread(reading.wait, 10)
    owner = next(iter(next(iter(socket.hub._sockets.values())))).visitor.owner
    second = await engine.start(owner, PromptSend(text="Second", session=UUID(session)))
    await until(lambda: not engine.generations, 10)
    read_on.set()
    frames = await socket.until("session.changed")
    assert "session.state" in [frame["type"] for frame in frames]
    assert frames[-1]["active"] == str(second.message)


async def test_a_socket_that_ends_before_its_relay_began_leaves_no_follower(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    provider.script = [asyncio.Event()]
    run = (await engine.start(alice, PromptSend(text="Hello"))).run
    gone = consumer(engine, alice)
    await gone._follow(run, session=None)
    gone._release()
    await until(lambda: not engine.bus.followed, 10)


async def test_a_client_that_leaves_before_the_reply_leaves_no_follower(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    provider.script = [asyncio.Event()]
    run = (await engine.start(alice, PromptSend(text="Hello"))).run
    gone = consumer(engine, alice)
    gone._closing = True
    with pytest.raises(ConnectionAbortedError):
        await gone._follow_run(RunFollow(run=run))
    assert not engine.bus.followed


async def test_a_socket_that_comes_while_the_server_stops_is_sent_away_and_opens_no_engine(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "_closed", False)  # and so again at the end
    await desk.start_desk()
    closing = asyncio.create_task(desk.close_desk())
    after = False
    while not after:
        await asyncio.sleep(0)
        after = closing.done()
        late = WebsocketCommunicator(ChatConsumer.as_asgi(), "/ws/chat/")
        assert await late.connect() == (True, None)
        assert await late.receive_output() == {"type": "websocket.close", "code": 1012}
        await late.disconnect()
    assert process.current() is None


async def test_of_a_change_that_a_newer_version_knows_the_rest_is_told(socket: Socket, engine: Engine) -> None:
    frame = await socket.accepted("run.completed")
    requester = next(iter(socket.hub._sockets))
    engine.heard(SessionNotice(frame["session"], requester, {"title": "New", "folder": "Work", "session": "other"}))
    [changed] = await socket.until("session.changed")
    assert changed == {"type": "session.changed", "session": frame["session"], "title": "New"}
