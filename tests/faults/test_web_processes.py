"""Two web processes and two workers: a web process dies or is replaced, and the runs do not even notice."""

import asyncio
import random
from collections.abc import Iterator

import pytest

from tests.faults import process_faults as faults
from tests.faults.cutting import CHUNKS, FRAMES, survive_cut
from tests.rig import Deployment, OwnPostgres, OwnRedis, audit, deployment

AT_ONCE = 24


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


@pytest.mark.slow
async def test_a_cut_at_any_frame_loses_and_repeats_nothing(whole: Deployment) -> None:
    """Before every frame and inside it, by turns; the reader comes back to the other web process."""
    visitor, turns = whole.visitor(), asyncio.Semaphore(AT_ONCE)
    ports = [web.port for web in whole.webs]

    async def cut(frames: int) -> int:
        async with turns:
            inside = frames % 2 == 1
            return await survive_cut(ports, visitor, whole.stored, f"cut/{frames}", frames, inside=inside)

    cuts = await asyncio.gather(*(cut(frames) for frames in range(FRAMES)))
    assert sum(cuts) >= CHUNKS // 2
    audit(whole, [])
