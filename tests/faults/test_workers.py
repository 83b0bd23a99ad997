"""Two web processes and two workers: a worker dies, is frozen or told to end, and no reader loses a chunk."""

import asyncio
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import process_faults as faults
from tests.rig import Deployment, OwnPostgres, OwnRedis, audit, deployment, stream, wire
from tests.rig.workers import WorkerProcess
from tests.servers import running
from tests.waiting import until

FROZEN_S = 6.0  # longer than a lease and the tick after it


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


@pytest.mark.slow
async def test_clocks_that_are_wrong_or_step_change_nothing(whole: Deployment, tmp_path: Path) -> None:
    worker, web = whole.workers[0], whole.webs[1]
    faults.skew(worker, tmp_path / "worker", 0)
    faults.skew(web, tmp_path / "web", 300)
    await faults.step_clock(whole, whole.visitor(), random.Random(), tmp_path / "worker")


def heeds(worker: WorkerProcess) -> bool:
    """Whether it has a handler for SIGTERM (proc(5), status)."""
    status = Path(f"/proc/{worker.pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


class Starting(WorkerProcess):
    def is_up(self) -> bool:
        return heeds(self)


def test_a_worker_hears_that_it_shall_end_while_it_still_starts(
    whole: Deployment, own_redis: OwnRedis, tmp_path: Path
) -> None:
    with wire(own_redis.port) as silent:
        silent.silent = True
        env = {**whole.workers[0].env, "REDIS_URL": own_redis.url_at(silent.port), "CHAT_DATA_DIR": str(tmp_path)}
        worker = Starting(tmp_path, whole.upstream, **env)
        with running(worker):
            assert worker.stop() == 0
    assert "Stopped." in worker.log_text()
    assert "executes up to" not in worker.log_text(), "it had started already"


@pytest.mark.slow
async def test_a_worker_whose_hand_over_hangs_dies_of_one_more_signal(whole: Deployment) -> None:
    async with stream(whole.urls(), whole.visitor(), runs=4, tabs=1, chunks=90) as crowds:
        worker = faults.busy_worker(whole)
        whole.postgres.freeze()
        try:
            worker.send(signal.SIGTERM)
            await until(lambda: not heeds(worker), 10)  # it has drained, and hands over
            assert worker.running()
            assert await asyncio.to_thread(worker.stop) == -signal.SIGTERM
        finally:
            whole.postgres.thaw()
        await asyncio.to_thread(worker.start)
    audit(whole, crowds)
