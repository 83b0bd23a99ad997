"""Two tabs on two web processes: who sends, who stops, in one moment or while the worker is dead."""

import asyncio
import random
import time
from collections.abc import Iterator

import pytest

from tests.faults import races
from tests.faults.process_faults import TAKE_OVER_S, busy_worker, holds, p95
from tests.rig import Deployment, OwnPostgres, OwnRedis, audit, deployment
from tests.upstream import Scenario
from tests.waiting import until


@pytest.fixture(scope="module")
def whole(own_postgres: OwnPostgres, own_redis: OwnRedis, upstream: str) -> Iterator[Deployment]:
    with deployment(upstream, postgres=own_postgres, redis=own_redis) as whole:
        yield whole
        audit(whole, [])


async def test_of_two_prompts_at_once_one_is_taken_and_both_tabs_see_it(whole: Deployment) -> None:
    await races.send_at_once(whole, whole.visitor(), rounds=6)


@pytest.mark.slow
async def test_a_stop_that_races_the_end_leaves_one_ending(whole: Deployment) -> None:
    endings = await races.stop_at_the_end(whole, whole.visitor(), random.Random(), runs=30)
    assert set(endings) == {"run.completed", "run.stopped"}, "a race that always ends alike is none"


@pytest.mark.parametrize("first_token", [False, True], ids=["before the first token", "within the text"])
async def test_a_stop_from_another_web_process_is_quick(whole: Deployment, first_token: bool) -> None:
    latencies = await races.stop_latencies(whole, whole.visitor(), 20, first_token=first_token)
    assert p95(latencies) <= races.STOP_S, sorted(latencies)


@pytest.mark.slow
async def test_a_stop_while_the_worker_is_dead_ends_the_run_with_its_text(whole: Deployment) -> None:
    """Of all workers: who takes over would be told of the stop, but nobody has to be there for it."""
    async with races.two_tabs(whole, whole.visitor()) as (one, other):
        accepted = await one.prompt(Scenario(seed="orphan", chunks=2000, rate=20).prompt)
        view = one.view(accepted["run"])
        while view.seq < 5:
            await one.read()
        pid = busy_worker(whole).pid
        for worker in whole.workers:
            await asyncio.to_thread(worker.kill)
        begun = time.monotonic()
        assert (await other.ask("run.stop", run=view.run))["type"] == "ok"
        await one.ended(view.run)
        assert time.monotonic() - begun < TAKE_OVER_S
    assert view.ended is not None
    assert view.ended["type"] == "run.stopped"
    assert view.text == whole.stored.message_text(view.run)
    await until(lambda: not holds(whole, pid), 1)
    for worker in whole.workers:
        await asyncio.to_thread(worker.start)
