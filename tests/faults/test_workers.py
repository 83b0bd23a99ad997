"""Two web processes and two workers: a worker dies, is frozen or told to end, and no reader loses a chunk."""

import random
from collections.abc import Iterator

import pytest

from tests.faults import process_faults as faults
from tests.rig import Deployment, OwnPostgres, OwnRedis, deployment

FROZEN_S = 7.0  # longer than a lease and the tick after it


@pytest.fixture(scope="module")
def whole(own_postgres: OwnPostgres, own_redis: OwnRedis, upstream: str) -> Iterator[Deployment]:
    with deployment(upstream, postgres=own_postgres, redis=own_redis) as whole:
        yield whole


@pytest.mark.slow
async def test_a_worker_that_is_killed_leaves_its_runs_to_the_other(whole: Deployment) -> None:
    await faults.kill_worker(whole, whole.visitor(), random.Random())


@pytest.mark.slow
async def test_a_worker_that_was_frozen_writes_nothing_more(whole: Deployment) -> None:
    await faults.freeze_worker(whole, whole.visitor(), random.Random(), seconds=FROZEN_S)


@pytest.mark.slow
async def test_a_worker_that_is_told_to_end_finishes_or_hands_over(whole: Deployment) -> None:
    await faults.stop_worker(whole, whole.visitor(), random.Random())
