"""Load on two web processes and two workers: what it costs in time, what it leaves behind, whom a slow reader slows."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.bench.workloads import Workload
from tests.faults.load import BusyMachineError, Held, held, lag_beside, many_tabs, measure, measure_alone
from tests.rig import Deployment, OwnPostgres, OwnRedis, audit, deployment
from tests.waiting import until

MANY = Workload("D2", "100 runs at 20 chunks/s", 100, "", chunks=160, rate=20, spread_s=4)
WARM_UP = Workload("warm-up", "as many, for a moment", 100, "", chunks=60, rate=20, spread_s=1)
SOME = Workload("D5", "30 runs at 20 chunks/s", 30, "", chunks=80, rate=20, spread_s=2)
P50_MS, P99_MS = 50, 250
SLACK = 1.05
ACK_TIMEOUT_S = 3


@pytest.fixture(scope="module")
def whole(own_postgres: OwnPostgres, own_redis: OwnRedis, upstream: str) -> Iterator[Deployment]:
    with deployment(
        upstream,
        postgres=own_postgres,
        redis=own_redis,
        CHAT_ACK_TIMEOUT=str(ACK_TIMEOUT_S),
        CHAT_LEASE_SECONDS="10",
        LOG_LEVEL="WARNING",
    ) as whole:
        yield whole


@contextmanager
def unless_busy() -> Iterator[None]:
    try:
        yield
    except BusyMachineError:
        pytest.skip("this machine is busy with something else")


@pytest.fixture(scope="module")
def before(whole: Deployment) -> Held:
    """After a first load: what is loaded once and kept is no leak."""
    asyncio.run(measure(whole, WARM_UP))
    return held(whole)


@pytest.mark.slow
async def test_100_runs_are_relayed_quickly_and_whole(whole: Deployment, before: Held) -> None:
    with unless_busy():
        measured = await measure_alone(whole, MANY)
        assert measured.added_p50_ms <= P50_MS
        assert measured.added_p99_ms <= P99_MS


@pytest.mark.slow
async def test_25_tabs_on_one_run_have_all_of_it_and_end_together(whole: Deployment, before: Held) -> None:
    await many_tabs(whole, whole.visitor(), runs=4, tabs=25, chunks=24, rate=6)


@pytest.mark.slow
async def test_load_leaves_nothing_behind(whole: Deployment, before: Held) -> None:
    """After the two tests above. A pool keeps a connection more that was needed once, up to its bound."""
    audit(whole, [])
    await until(lambda: held(whole).files <= before.files * SLACK + len(whole.webs), 5)
    now = held(whole)
    assert now.threads <= before.threads * SLACK + len(whole.processes)
    assert now.postgres <= before.postgres * SLACK + len(whole.processes)
    assert now.redis <= before.redis * SLACK
    assert now.rss <= before.rss * SLACK, (before, now)


@pytest.mark.slow
async def test_slow_and_silent_readers_cost_bounded_memory_and_slow_nobody(whole: Deployment, before: Held) -> None:
    with unless_busy():
        await lag_beside(whole, whole.visitor(), SOME, silent=5, deaf=5, slow=16, ack_timeout=ACK_TIMEOUT_S)
