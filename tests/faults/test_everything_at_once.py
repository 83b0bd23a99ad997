"""A power cut: two web processes, two workers, Postgres and Redis are killed in one moment and started again."""

import random

import pytest

from tests.faults import process_faults as faults
from tests.rig import OwnPostgres, OwnRedis, deployment


@pytest.mark.slow
async def test_after_a_power_cut_all_that_was_shown_is_there_and_no_run_hangs(
    own_postgres: OwnPostgres, own_redis: OwnRedis, upstream: str
) -> None:
    with deployment(upstream, postgres=own_postgres, redis=own_redis) as whole:
        await faults.kill_everything(whole, whole.visitor(), random.Random())
