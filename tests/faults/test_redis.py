"""Redis is an accelerator and never the truth: whatever happens to it costs at most two seconds, and no socket."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from tests.faults.redis_faults import LASTING, LATE_S, MOMENTS, Fault, frozen, killed, refused, ride, stranger
from tests.rig import Deployment, OwnPostgres, OwnRedis, Wire, deployment, wire
from tests.servers import ServerProcess
from tests.upstream import Scenario, expected_text
from tests.visitors import Visitor
from tests.waiting import until
from tests.wsclient import Client

RECHECK_S = 3
NOTICES = "asgi__group__chat.notices"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def way(own_redis: OwnRedis) -> Iterator[Wire]:
    with wire(own_redis.port) as way:
        yield way


@pytest.fixture(scope="module")
def whole(own_postgres: OwnPostgres, own_redis: OwnRedis, way: Wire, upstream: str) -> Iterator[Deployment]:
    with deployment(
        upstream,
        postgres=own_postgres,
        redis=own_redis,
        redis_url=own_redis.url_at(way.port),
        CHAT_AUTO_TITLE="on",
        CHAT_RECHECK_SECONDS=str(RECHECK_S),
    ) as whole:
        yield whole


def name(fault: Fault) -> str:
    return fault.__name__


@pytest.mark.parametrize("faults", LASTING, ids=lambda faults: " ".join(map(name, faults)))
async def test_streams_go_on_with(whole: Deployment, way: Wire, faults: tuple[Fault, ...]) -> None:
    (await ride(whole, way, faults)).check()


async def test_streams_go_on_after_moments_of_trouble(whole: Deployment, way: Wire) -> None:
    (await ride(whole, way, MOMENTS, lasting=0.5)).check()


async def test_hints_of_a_stranger_change_nothing(whole: Deployment, way: Wire) -> None:
    with stranger(whole.redis) as said:
        (await ride(whole, way, [])).check()
    assert said() > 200


@asynccontextmanager
async def both(whole: Deployment, visitor: Visitor) -> AsyncIterator[tuple[Client, Client]]:
    """A tab on each web process."""
    async with AsyncExitStack() as stack:
        here, there = [
            await stack.enter_async_context(Client.connect(web.ws, cookie=visitor.cookie, origin=web.origin))
            for web in whole.webs
        ]
        yield here, there


async def seconds_until(client: Client, type_: str, **fields: Any) -> float:
    begun = time.monotonic()
    await client.until_type(type_, **fields)
    return time.monotonic() - begun


@pytest.mark.parametrize("fault", [killed, frozen], ids=name)
async def test_all_else_works_with(whole: Deployment, way: Wire, fault: Fault) -> None:
    visitor = await asyncio.to_thread(whole.visitor)
    async with both(whole, visitor) as (here, there):
        first = await here.prompt(Scenario(seed="first", chunks=3).prompt)
        session = first["session"]
        await here.ended(first["run"])
        await there.ask("session.open", session=session)
        with fault(whole, way):
            # A prompt, and the other tab that has the chat session open.
            asked = await here.prompt(Scenario(seed="away", chunks=20, rate=20).prompt, session=session)
            assert await seconds_until(here, "text.delta", run=asked["run"]) <= LATE_S
            assert await seconds_until(there, "text.delta", run=asked["run"]) <= LATE_S
            for client in (here, there):
                assert (await client.ended(asked["run"])).text == expected_text("away", 20)
            # Stop, from the process that has not asked.
            asked = await here.prompt(Scenario(seed="stop", chunks=2000, rate=20).prompt, session=session)
            await there.until_type("text.delta", run=asked["run"])
            begun = time.monotonic()
            assert (await there.ask("run.stop", run=asked["run"]))["type"] == "ok"
            await here.ended(asked["run"])
            assert time.monotonic() - begun <= LATE_S
            # A title that the model gives in a worker.
            asked = await here.prompt(Scenario(seed="titled", chunks=3).prompt)
            await there.ask("session.open", session=asked["session"])
            for client in (here, there):
                await client.until_type("session.changed", session=asked["session"], title="Title of titled")


async def test_signing_out_closes_the_sockets_of_all_processes_without_redis(whole: Deployment, way: Wire) -> None:
    visitor = await asyncio.to_thread(whole.visitor)
    async with both(whole, visitor) as clients:
        with refused(whole, way):
            begun = time.monotonic()
            await asyncio.to_thread(visitor.sign_out)
            assert [await client.closed() for client in clients] == [4401, 4401]
            assert time.monotonic() - begun < RECHECK_S + 1


@pytest.mark.parametrize("fault, kind", [(refused, "worker"), (frozen, "web")])
async def test_a_process_ends_and_starts_with(whole: Deployment, way: Wire, fault: Fault, kind: str) -> None:
    process: ServerProcess = whole.webs[1] if kind == "web" else whole.workers[1]
    visitor = await asyncio.to_thread(whole.visitor)
    with fault(whole, way):
        assert await asyncio.to_thread(ended_after, process) < 6
        await asyncio.to_thread(process.start)
        async with both(whole, visitor) as (_, there):
            asked = await there.prompt(Scenario(seed=f"started {name(fault)}", chunks=5).prompt)
            await there.ended(asked["run"])
    # They find Redis by themselves.
    with whole.redis.client() as client:
        await until(lambda: dict(client.pubsub_numsub(NOTICES)) == {NOTICES.encode(): len(whole.processes)}, 10)


def ended_after(process: ServerProcess) -> float:
    begun = time.monotonic()
    assert process.stop() in {0, -15}
    return time.monotonic() - begun
