"""Many readers whose connections all break at one moment, and the connections that it takes to serve them."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from tests.rig import Crowd, Deployment, Wire, audit, stream

POOL = 10  # of connections to Postgres, per process (DATABASE_POOL)
REDIS_EACH = 4  # per process: two of the bus, two of the channel layer
RATE = 1
CAUGHT_UP_S = 15.0


class Storm(NamedTuple):
    crowds: list[Crowd]
    redis: int  # the most connections that were seen
    postgres: int
    back: float  # seconds until the last reader had caught up

    def check(self, processes: int) -> None:
        clients = [client for crowd in self.crowds for client in crowd.clients]
        assert {client.connections for client in clients} == {2}
        assert sum(client.refused for client in clients) == 0
        assert self.back <= CAUGHT_UP_S
        assert self.redis <= REDIS_EACH * processes
        assert self.postgres <= POOL * processes


async def storm(whole: Deployment, wires: Sequence[Wire], *, runs: int, tabs: int, seconds: float) -> Storm:
    """`runs` answers of `seconds`, each read in `tabs` tabs through `wires`, which are cut when all are reading."""
    visitor = await asyncio.to_thread(whole.visitor)
    urls = [f"ws://127.0.0.1:{wire.port}/ws/chat/" for wire in wires]
    redis, postgres = Most(), Most()
    watching = asyncio.create_task(watch(whole, redis, postgres))
    try:
        async with stream(urls, visitor, runs=runs, tabs=tabs, chunks=round(RATE * seconds), rate=RATE) as crowds:
            assert sum(wire.connections for wire in wires) == runs * tabs
            for wire in wires:
                wire.cut()
    finally:
        watching.cancel()
    # Of each crowd one against the database, and the others against that one: a thousand would ask for minutes.
    await asyncio.to_thread(audit, whole, [replace(crowd, clients=crowd.clients[:1]) for crowd in crowds])
    for crowd in crowds:
        assert len({(client.view.seq, client.view.text) for client in crowd.clients if client.view is not None}) == 1
        assert all(client.view is not None and client.view.ended and not client.stalls for client in crowd.clients)
    return Storm(crowds, redis.seen, postgres.seen, max(outage for crowd in crowds for outage in crowd.outages))


class Most:
    seen = 0

    def see(self, count: int) -> None:
        self.seen = max(self.seen, count)


async def watch(whole: Deployment, redis: Most, postgres: Most) -> None:
    while True:
        redis.see(await asyncio.to_thread(redis_connections, whole))
        postgres.see(await asyncio.to_thread(whole.postgres.connections))
        await asyncio.sleep(0.2)


def redis_connections(whole: Deployment) -> int:
    """Of our processes; the one that asks is not counted."""
    with whole.redis.client() as client:
        return len(client.client_list()) - 1
