"""Hints over a real Redis. A lost one costs time only, so what is proven is that they come, and that none blocks."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
import redis

from chat.eventlog import redis_bus
from chat.eventlog.redis_bus import MOST_WAITING, RedisBus
from chat.protocol.events import Event
from tests.rig import Wire, wire
from tests.runs.helpers import until


class Heard:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def take(self, events: Sequence[Event]) -> None:
        self.events += events

    def reach(self, top: int) -> None:
        return

    def close(self) -> None:
        return


def event(seq: int) -> Event:
    return Event(seq, "text.delta", f'{{"part":0,"text":"é{seq}"}}')


@pytest_asyncio.fixture
async def buses(redis_url: str) -> AsyncIterator[list[RedisBus]]:
    buses = [RedisBus(redis_url) for _ in range(2)]
    for bus in buses:
        await bus.open()
    yield buses
    for bus in buses:
        await bus.close()


async def join(bus: RedisBus, run: str) -> Heard:
    """Returns when what others publish is heard."""
    joined: list[str] = []
    bus.joined = joined.append
    heard = Heard()
    bus.subscribe(run, heard)
    await until(lambda: run in joined)
    return heard


async def test_who_follows_is_known_in_every_process(buses: list[RedisBus]) -> None:
    here, there = buses
    assert [await bus.is_followed("who") for bus in buses] == [False, False]
    heard = await join(there, "who")
    assert [await bus.is_followed("who") for bus in buses] == [True, True]
    there.unsubscribe("who", heard)

    async def nobody() -> bool:
        return await here.is_followed("who") is False

    await until(nobody)


async def test_whether_others_follow_is_not_guessed_while_redis_is_away(behind: RedisBus, way: Wire) -> None:
    way.refusing = True
    assert await behind.is_followed("who") is None
    behind.subscribe("who", Heard())
    assert await behind.is_followed("who") is True


async def test_it_works(buses: list[RedisBus]) -> None:
    here, there = buses
    heard = await join(there, "one")
    here.publish("one", [event(1), event(2)])
    await until(lambda: len(heard.events) == 2)
    assert heard.events == [event(1), event(2)]


async def test_followers_of_the_publishing_process_hear_it_at_once_and_once(buses: list[RedisBus]) -> None:
    here, there = buses
    mine, other = await join(here, "one"), await join(there, "one")
    here.publish("one", [event(1)])
    assert mine.events == [event(1)]
    await until(lambda: other.events == [event(1)])
    there.publish("one", [event(2)])
    await until(lambda: len(mine.events) == 2)
    assert mine.events == [event(1), event(2)]


async def test_only_runs_that_are_followed_are_heard(buses: list[RedisBus]) -> None:
    here, there = buses
    left, stays = await join(there, "left"), await join(there, "stays")
    there.unsubscribe("left", left)
    here.publish("left", [event(1)])
    here.publish("other", [event(1)])
    here.publish("stays", [event(1)])
    await until(lambda: stays.events == [event(1)])
    assert left.events == []


async def test_after_a_cut_it_subscribes_anew_and_says_so(buses: list[RedisBus], redis_url: str) -> None:
    here, there = buses
    heard = await join(there, "one")
    again: list[str] = []
    there.joined = again.append
    with redis.Redis.from_url(redis_url) as admin:
        admin.client_kill_filter(_type="pubsub")
    await until(lambda: again == ["one"])
    here.publish("one", [event(7)])
    await until(lambda: heard.events == [event(7)])


async def test_a_subscription_that_is_silent_is_asked_and_lives(
    buses: list[RedisBus], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_bus, "PING_SECONDS", 0.05)
    here, there = buses
    heard = await join(there, "one")
    again: list[str] = []
    there.joined = again.append
    await asyncio.sleep(0.5)
    here.publish("one", [event(1)])
    await until(lambda: heard.events == [event(1)])
    assert again == [], "it was given up, and subscribed anew"


@pytest.fixture
def way(redis_url: str) -> Iterator[Wire]:
    with wire(urlsplit(redis_url).port or 6379) as way:
        yield way


@pytest_asyncio.fixture
async def behind(way: Wire, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RedisBus]:
    monkeypatch.setattr(redis_bus, "PING_SECONDS", 0.1)
    monkeypatch.setattr(redis_bus, "SEND_TIMEOUT", 0.2)
    monkeypatch.setattr(redis_bus, "CONNECT_TIMEOUT", 0.2)
    monkeypatch.setattr(redis_bus, "RETRY_SECONDS", 0.1)
    bus = RedisBus(urlsplit(redis_url)._replace(netloc=f"127.0.0.1:{way.port}").geturl())
    await bus.open()
    yield bus
    await bus.close()


async def test_a_way_that_swallows_all_is_found_out_and_so_is_its_end(
    buses: list[RedisBus], behind: RedisBus, way: Wire
) -> None:
    """Also what is lost of a connection's first words: no answer to them ever comes."""
    heard = await join(behind, "one")
    again: list[str] = []
    behind.joined = again.append
    way.silent = True
    await until(lambda: behind._listening is None)
    await asyncio.sleep(1)  # several tries to come back are under way by turns
    assert again == []
    way.silent = False
    await until(lambda: again == ["one"])
    buses[0].publish("one", [event(1)])
    await until(lambda: heard.events == [event(1)])


async def test_a_way_that_swallows_all_holds_up_no_shutdown(
    behind: RedisBus, way: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_bus, "CLOSE_SECONDS", 0.1)
    await join(behind, "one")
    way.silent = True
    behind.publish("one", [event(1)])
    async with asyncio.timeout(1):
        await behind.close()


async def test_a_redis_that_reads_no_more_holds_up_no_shutdown(monkeypatch: pytest.MonkeyPatch) -> None:
    """redis-py then fails to close its connection, and says so in the place of the cancellation."""
    monkeypatch.setattr(redis_bus, "SEND_TIMEOUT", 0.2)
    monkeypatch.setattr(redis_bus, "CONNECT_TIMEOUT", 0.2)
    monkeypatch.setattr(redis_bus, "CLOSE_SECONDS", 0.1)
    end = asyncio.Event()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"LIB-VER")
        writer.write(b"+OK\r\n+OK\r\n")
        await end.wait()
        writer.transport.abort()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        bus = RedisBus(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0")
        await bus.open()
        for seq in range(1, 20):
            bus.publish("one", [Event(seq, "text.delta", "x" * 1_000_000)])
        await asyncio.sleep(0.1)
        async with asyncio.timeout(2):
            await bus.close()
        end.set()


async def test_what_happens_to_redis_is_told_once_and_not_at_every_try(
    behind: RedisBus, way: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    await join(behind, "one")
    way.refusing = True
    way.cut()
    await asyncio.sleep(0.7)
    told = [record for record in caplog.records if "does not answer" in record.getMessage()]
    assert len(told) == 1


async def test_no_redis_holds_nothing_up_and_fills_no_memory() -> None:
    bus = RedisBus("redis://127.0.0.1:1/0")
    await bus.open()
    mine = Heard()
    bus.subscribe("one", mine)
    for seq in range(1, MOST_WAITING * 2):
        bus.publish("one", [event(seq)])
    assert len(mine.events) == MOST_WAITING * 2 - 1
    assert len(bus._waiting) == MOST_WAITING
    await bus.close()


async def test_what_is_no_hint_is_ignored(buses: list[RedisBus], redis_url: str) -> None:
    here, there = buses
    heard = await join(there, "one")
    with redis.Redis.from_url(redis_url) as other:
        other.publish("chat.run.one", b"\xc1 of another version")
    here.publish("one", [event(1)])
    await until(lambda: heard.events == [event(1)])


async def test_closing_leaves_no_task_behind(redis_url: str) -> None:
    before = asyncio.all_tasks()
    bus = RedisBus(redis_url)
    await bus.open()
    heard = await join(bus, "one")
    bus.unsubscribe("one", heard)
    await bus.close()
    assert asyncio.all_tasks() == before
