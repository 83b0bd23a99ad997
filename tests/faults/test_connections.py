"""Connections: what redis-py 8 does to them by default (docs/architecture.md), bursts of them, and storms."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack
from statistics import median

import pytest

from tests.faults.storm import REDIS_EACH, redis_connections, storm
from tests.rig import Deployment, OwnPostgres, OwnRedis, Wire, deployment, wire
from tests.upstream import Scenario
from tests.wsclient import Client

IDLE_S = 7  # redis-py's own limit on a read is 5
BURST = 300  # its pools' own limit is 100

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(own_postgres: OwnPostgres, own_redis: OwnRedis, upstream: str) -> Iterator[Deployment]:
    with deployment(upstream, workers=1, postgres=own_postgres, redis=own_redis) as whole:
        yield whole


async def test_notices_and_hints_come_at_once_after_a_silence(whole: Deployment) -> None:
    visitor = await asyncio.to_thread(whole.visitor)
    first, second = whole.webs
    async with (
        Client.connect(first.ws, cookie=visitor.cookie, origin=first.origin) as here,
        Client.connect(second.ws, cookie=visitor.cookie, origin=second.origin) as there,
    ):
        session = (await here.prompt(Scenario(seed="before", chunks=1).prompt))["session"]
        await there.ask("session.open", session=session)
        with whole.redis.client() as client:
            before = {each["id"] for each in client.client_list()}
            await asyncio.sleep(IDLE_S)
            assert {each["id"] for each in client.client_list()} == before, "connections were made anew"
        took = []
        for number in range(5):
            asked = await here.prompt(Scenario(seed=f"after {number}", chunks=1).prompt, session=session)
            begun = time.monotonic()
            await there.ended(asked["run"])
            took.append(time.monotonic() - begun)
            await here.ended(asked["run"])
    # The database is asked once a second, so that a lost notice takes half of one on average.
    assert median(took) < 0.25


async def test_a_burst_of_connects_is_let_in_and_is_none_on_redis(whole: Deployment) -> None:
    visitor = await asyncio.to_thread(whole.visitor)
    async with AsyncExitStack() as stack:

        async def arrive(number: int) -> Client:
            web = whole.webs[number % 2]
            return await stack.enter_async_context(Client.connect(web.ws, cookie=visitor.cookie, origin=web.origin))

        clients = await asyncio.gather(*(arrive(number) for number in range(BURST)))
        assert {client.hello["type"] for client in clients} == {"hello"}
        assert await asyncio.to_thread(redis_connections, whole) <= REDIS_EACH * len(whole.processes)


async def test_after_a_storm_all_are_back_and_have_caught_up(whole: Deployment) -> None:
    with ExitStack() as stack:
        wires: list[Wire] = [stack.enter_context(wire(web.port)) for web in whole.webs]
        found = await storm(whole, wires, runs=50, tabs=6, seconds=8)
    found.check(len(whole.processes))
    # Small and flat: what 300 readers of 50 runs take is what nobody takes.
    assert found.redis == await asyncio.to_thread(redis_connections, whole)
