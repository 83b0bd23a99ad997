"""Two web processes and two workers: a web process dies or is replaced, and the runs do not even notice."""

import random
from collections.abc import Iterator

import pytest

from tests.faults import process_faults as faults
from tests.rig import Deployment, OwnPostgres, OwnRedis, deployment


@pytest.fixture(scope="module")
def whole(own_postgres: OwnPostgres, own_redis: OwnRedis, upstream: str) -> Iterator[Deployment]:
    with deployment(upstream, postgres=own_postgres, redis=own_redis) as whole:
        yield whole


@pytest.mark.slow
async def test_readers_of_a_web_process_that_is_killed_go_on_at_the_other(whole: Deployment) -> None:
    await faults.kill_web(whole, whole.visitor(), random.Random())


@pytest.mark.slow
async def test_web_processes_are_replaced_one_by_one_under_streams(whole: Deployment) -> None:
    await faults.stop_web(whole, whole.visitor(), random.Random())
