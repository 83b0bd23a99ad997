"""Two web processes and two workers: a web process dies or is replaced, and the runs do not even notice."""

import asyncio
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults import process_faults as faults
from tests.faults.cutting import CHUNKS, FRAMES, survive_cut
from tests.rig import Deployment, OwnPostgres, OwnRedis, audit, deployment
from tests.transports.aisdk.api import Api, five, new_chat, run_of, wait
from tests.upstream import Scenario

AT_ONCE = 24
GRACE_S = 0.5


@pytest.fixture(scope="module")
def whole(own_postgres: OwnPostgres, own_redis: OwnRedis, upstream: str) -> Iterator[Deployment]:
    with deployment(upstream, postgres=own_postgres, redis=own_redis, CHAT_AISDK_GRACE=str(GRACE_S)) as whole:
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


@pytest.mark.slow
def test_a_use_chat_that_comes_back_to_another_process_keeps_its_run(whole: Deployment) -> None:
    visitor, chat = whole.visitor(), new_chat()
    here, there = (Api(web, {"Cookie": visitor.cookie, "Origin": web.origin}) for web in whole.webs)
    scenario = Scenario(seed=chat, chunks=3_000, rate=50)
    with here.post(five(chat, scenario.prompt)) as first:
        first.until(b"text-delta")
    with there.get(f"/api/chat/{chat}/stream") as second:
        begun = time.monotonic()
        while time.monotonic() - begun < GRACE_S * 4:
            second.until_more()
        assert whole.stored.run(run_of(whole.stored, scenario.prompt))["status"] == "running"
        assert scenario.text.startswith(second.answer)
    wait(lambda: whole.stored.run(run_of(whole.stored, scenario.prompt))["status"] == "stopped")


@pytest.mark.slow
def test_first_prompts_of_one_chat_at_both_processes_are_one_chat_session(whole: Deployment) -> None:
    visitor, chat = whole.visitor(), new_chat()
    sides = [Api(web, {"Cookie": visitor.cookie, "Origin": web.origin}) for web in whole.webs]
    prompts = [Scenario(seed=f"{chat}/{number // 2}", chunks=3).prompt for number in range(8)]  # each of them twice

    def send(number: int) -> str:
        with sides[number % 2].post(five(chat, prompts[number])) as reply:
            return reply.whole().message

    with ThreadPoolExecutor(8) as pool:
        messages = list(pool.map(send, range(8)))
    assert len(set(messages)) == 4
    found = whole.stored.rows("SELECT session_id, count(*) FROM chat_run WHERE idempotency_key IS NOT NULL"
                              " AND requester = (SELECT 'user:' || id FROM auth_user WHERE username = ?)"
                              " GROUP BY session_id", visitor.name)  # fmt: skip
    assert [runs for _, runs in found] == [4]
