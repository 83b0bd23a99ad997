"""Two web processes and two workers: any of them dies, is frozen or told to end, and no reader loses a chunk."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.rig import Deployment, OwnPostgres, OwnRedis, audit, deployment, stream
from tests.waiting import until

TAKE_OVER_S = 15
OWNERS = "SELECT DISTINCT lease_owner FROM chat_run WHERE ended IS NULL"


@pytest.fixture(scope="module")
def whole(own_postgres: OwnPostgres, own_redis: OwnRedis, upstream: str) -> Iterator[Deployment]:
    with deployment(upstream, postgres=own_postgres, redis=own_redis) as whole:
        yield whole


def owners(whole: Deployment) -> list[str]:
    return [owner for (owner,) in whole.stored.rows(OWNERS)]


@pytest.mark.slow
async def test_a_worker_that_is_killed_leaves_its_runs_to_the_other(whole: Deployment) -> None:
    async with stream(whole.urls(), whole.visitor()) as crowds:
        victim = whole.worker_of(owners(whole)[0])
        pid = victim.pid
        await asyncio.to_thread(victim.kill)
        await until(lambda: not any(f":{pid}:" in owner for owner in owners(whole)), TAKE_OVER_S)
    audit(whole, crowds)
    await asyncio.to_thread(victim.start)
