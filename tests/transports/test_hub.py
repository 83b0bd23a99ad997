"""Notices between processes: heard here at once, carried or lost, and found in the database when lost."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from pytest_django.fixtures import Settings

from chat.models import ChatSession
from chat.protocol.operations import PromptSend
from chat.runs import engine as engine_module
from chat.runs import places, sessions
from chat.runs.engine import Engine
from chat.runs.notices import RunBegan, RunQueued, SessionNotice
from chat.runs.owner import Owner
from chat.runs.places import News, Place
from chat.transports import hub as hub_module
from chat.transports.access import Visitor
from chat.transports.hub import GROUP, Hub
from tests.fakes import ScriptedProvider
from tests.waiting import until


class Layer:
    """A channel layer that brings what a test says, and may take a notice or hang on it."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.comes: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.works = asyncio.Event()
        self.works.set()
        self.channels = 0

    async def new_channel(self) -> str:
        self.channels += 1
        await self.works.wait()
        return "mine"

    async def group_add(self, group: str, channel: str) -> None:
        assert (group, channel) == (GROUP, "mine")

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        await self.works.wait()
        self.sent.append(message)

    async def receive(self, channel: str) -> dict[str, Any]:
        return await self.comes.get()

    async def flush(self) -> None:
        self.channels = 0


class Tab:
    def __init__(self, owner: Owner) -> None:
        self.visitor = Visitor(owner, "Alice", None)
        self.told: list[tuple[Any, ...]] = []

    def run_began(self, session: str, run: str) -> None:
        self.told.append((session, run))

    def session_changed(self, session: str, changes: dict[str, Any]) -> None:
        self.told.append((session, changes))

    def sign_out(self) -> None:
        self.told.append(("signed out",))

    def server_stops(self) -> None:
        self.told.append(("come back",))


@pytest.fixture
def layer(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Layer:
    layer = Layer()
    settings.CHAT_AUTO_TITLE = False
    monkeypatch.setattr(hub_module, "get_channel_layer", lambda: layer)
    monkeypatch.setattr(hub_module, "LOOK_SECONDS", 3600)  # a test looks when it wants to
    monkeypatch.setattr(hub_module, "JOIN_SECONDS", 0.05)
    monkeypatch.setattr(engine_module, "CARRY_SECONDS", 0.05)
    return layer


@pytest_asyncio.fixture
async def hub(engine: Engine, layer: Layer) -> AsyncIterator[Hub]:
    hub = Hub(engine)
    await hub.open()
    yield hub
    await hub.close()


@pytest.fixture
def tab(hub: Hub, alice: Owner) -> Tab:
    tab = Tab(alice)
    hub.join(tab)
    return tab


@pytest_asyncio.fixture
async def elsewhere(hub: Hub, provider: ScriptedProvider) -> AsyncIterator[Engine]:
    """Another process, whose notices are all lost."""
    engine = Engine(provider)
    await engine.open()
    yield engine
    await engine.close()


async def ended(engine: Engine) -> None:
    await until(lambda: not engine.generations, 10)


async def test_a_notice_is_heard_here_at_once_and_its_echo_is_not(hub: Hub, layer: Layer, tab: Tab) -> None:
    hub.open_session("s", tab)
    hub.engine.notify(RunBegan("s", "r"))
    assert tab.told == [("s", "r")]
    await until(lambda: len(layer.sent) == 1, 5)
    await layer.comes.put(layer.sent[0])
    await layer.comes.put({**layer.sent[0], "from": "another process"})
    await until(lambda: len(tab.told) == 2, 5)
    assert layer.comes.empty()


async def test_a_layer_that_hangs_holds_up_nobody_and_collects_nothing(
    hub: Hub, layer: Layer, caplog: pytest.LogCaptureFixture
) -> None:
    layer.works.clear()
    before = len(hub.engine._tasks)
    for _ in range(50):
        hub.engine.notify(RunQueued())
    await until(lambda: len(hub.engine._tasks) == before, 5)
    assert [record.getMessage() for record in caplog.records if "do not get through" in record.getMessage()] != []
    assert len(caplog.records) == 1
    layer.works.set()
    hub.engine.notify(RunQueued())
    await until(lambda: len(layer.sent) == 1, 5)


async def test_a_layer_that_hangs_delays_the_start_by_its_limit_and_is_joined_later(
    engine: Engine, layer: Layer, alice: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer.works.clear()
    hub = Hub(engine)
    async with asyncio.timeout(1):
        await hub.open()
    tab = Tab(alice)
    hub.open_session("s", tab)
    monkeypatch.setattr(hub_module, "JOIN_SECONDS", 10)
    await until(lambda: layer.channels == 1, 5)  # it forgot the channel that could not be subscribed to
    layer.works.set()
    notice = {"type": "chat.notices", "json": msgspec.json.encode([RunBegan("s", "r")]).decode()}
    await layer.comes.put(notice)  # of a version that does not say where it comes from
    await until(lambda: tab.told == [("s", "r")], 5)
    await hub.close()


async def test_what_is_no_notice_holds_up_none(hub: Hub, layer: Layer, tab: Tab) -> None:
    hub.open_session("s", tab)
    hub.engine.notify(RunBegan("s", "r"))
    await until(lambda: len(layer.sent) == 1, 5)
    for garbage in (None, 7, "{", "[7]", '[{"type":"of.another.version"}]'):
        await layer.comes.put({"type": "chat.notices", "json": garbage})
    async with asyncio.timeout(0.5):
        await layer.comes.put({**layer.sent[0], "from": "another process"})
        await until(lambda: len(tab.told) == 2, 5)


async def test_a_lost_notice_is_found_in_the_database(hub: Hub, elsewhere: Engine, tab: Tab, alice: Owner) -> None:
    first = await elsewhere.start(alice, PromptSend(text="First"))
    session = str(first.session)
    await ended(elsewhere)
    hub.open_session(session, tab)
    await hub._look()
    assert tab.told == [(session, {"title": "First", "active": str(first.message)})]
    await hub._look()
    assert len(tab.told) == 1, "nothing has changed"
    # A run that is over before anybody looks, and one that is under way.
    second = await elsewhere.start(alice, PromptSend(text="Second", session=first.session))
    await ended(elsewhere)
    await hub._look()
    assert tab.told[1:] == [(session, {"title": "First", "active": str(second.message)}), (session, str(second.run))]
    # Another branch: its run ended long ago, and is not begun anew.
    await elsewhere.select_branch(alice, first.session, first.message)
    await sync_to_async(ChatSession.objects.filter(id=first.session).update)(title="Renamed", active_leaf=first.message)
    await hub._look()
    assert tab.told[3:] == [(session, {"title": "Renamed", "active": str(first.message)})]


async def test_a_run_that_is_under_way_is_begun_when_it_is_first_looked_at(
    hub: Hub, elsewhere: Engine, tab: Tab, alice: Owner, provider: ScriptedProvider
) -> None:
    gate = asyncio.Event()
    provider.script = ["a", gate]
    asked = await elsewhere.start(alice, PromptSend(text="Hello"))
    hub.open_session(str(asked.session), tab)
    await hub._look()
    assert (str(asked.session), str(asked.run)) in tab.told
    gate.set()
    await ended(elsewhere)


async def test_a_notice_that_comes_while_the_database_is_asked_is_the_newer(
    hub: Hub, elsewhere: Engine, tab: Tab, alice: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = await elsewhere.start(alice, PromptSend(text="Hello"))
    session = str(asked.session)
    await ended(elsewhere)
    hub.open_session(session, tab)
    await hub._look()
    tab.told.clear()
    loop, notice = asyncio.get_running_loop(), SessionNotice(session, alice.requester, {"title": "Newer"})

    def slowly(sessions: frozenset[str], known: dict[str, Place]) -> News:
        asyncio.run_coroutine_threadsafe(heard(), loop).result(10)
        return News({session: Place("Older", str(asked.message))}, [])

    async def heard() -> None:
        hub.heard(notice)

    with monkeypatch.context() as patch:
        patch.setattr(places, "news", slowly)
        await hub._look()
    assert tab.told == [(session, {"title": "Newer"})]
    await hub._look()
    assert tab.told[1:] == [(session, {"title": "Hello", "active": str(asked.message)})], "that notice was a lie"


async def test_a_lost_notice_of_a_deletion_is_found_in_the_database(
    hub: Hub, elsewhere: Engine, tab: Tab, alice: Owner
) -> None:
    asked = await elsewhere.start(alice, PromptSend(text="Hello"))
    session = str(asked.session)
    await ended(elsewhere)
    hub.open_session(session, tab)
    await hub._look()
    await sessions.delete(elsewhere, alice, asked.session)
    await hub._look()
    assert tab.told[1:] == [(session, {"deleted": True})]
    await hub._look()
    assert len(tab.told) == 2, "it is told once"


async def test_a_chat_session_that_was_closed_is_asked_about_no_more(hub: Hub, tab: Tab) -> None:
    hub.open_session("s", tab)
    hub._places["s"] = Place("", None)
    hub.close_session("s", tab)
    assert (hub._open, hub._places) == ({}, {})
    await hub._look()
