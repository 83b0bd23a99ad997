"""Two web processes and two workers over Postgres and Redis: what one knows all do, and any of them may die."""

import asyncio
import itertools
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

import pytest
import redis

from chat.protocol.events import TERMINAL
from tests.rig.survivor import Survivor
from tests.servers import ServerProcess
from tests.services.conftest import Deployment, Query
from tests.upstream import Scenario, expected_text
from tests.visitors import Visitor
from tests.waiting import until
from tests.wsclient import Client

TAKE_OVER_S = 15
CHUNKS = 100
RUN = "SELECT lease_owner, attempt, status FROM chat_run WHERE id = %s"
LOG = "SELECT seq, type FROM chat_runevent e JOIN chat_run r ON r.log_id = e.run_id WHERE r.id = %s ORDER BY seq"


@pytest.fixture
def alice(deployment: Deployment) -> Visitor:
    return Visitor(deployment.webs[0].port).sign_up()


def connect(web: ServerProcess, visitor: Visitor) -> AbstractAsyncContextManager[Client]:
    return Client.connect(web.ws, cookie=visitor.cookie, origin=web.origin)


async def test_an_answer_is_written_by_a_worker_and_read_on_every_web_process(
    deployment: Deployment, alice: Visitor, query: Query
) -> None:
    first, second = deployment.webs
    async with connect(first, alice) as here, connect(second, alice) as there:
        accepted = await here.prompt(Scenario(seed="both", chunks=60, rate=40).prompt)
        assert (await there.ask("session.open", session=accepted["session"]))["type"] == "session.state"
        for client in (here, there):
            assert (await client.ended(accepted["run"])).text == expected_text("both", 60)
    [(owner, attempt, status)] = query(RUN, accepted["run"])
    assert any(f":{worker.pid}:" in str(owner) for worker in deployment.workers)
    assert (attempt, status) == (1, "completed")


async def test_chunks_come_over_redis_and_not_by_polling(deployment: Deployment, alice: Visitor) -> None:
    """Polling looks once a second: a stream that it carried would come in some few gusts."""
    async with connect(deployment.webs[0], alice) as client:
        accepted = await client.prompt(Scenario(seed="smooth", chunks=60, rate=30).prompt)
        await client.ended(accepted["run"])
        frames = [frame for frame in client.frames if frame["type"] == "text.delta"]
    assert len(frames) > 40


async def test_stop_reaches_the_worker_from_the_other_web_process(
    deployment: Deployment, alice: Visitor, query: Query
) -> None:
    first, second = deployment.webs
    async with connect(first, alice) as here, connect(second, alice) as there:
        accepted = await here.prompt(Scenario(seed="stop", chunks=2000, rate=20).prompt)
        while here.view(accepted["run"]).seq < 3:
            await here.read()
        begun = time.monotonic()
        assert (await there.ask("run.stop", run=accepted["run"]))["type"] == "ok"
        await here.ended(accepted["run"])
        assert time.monotonic() - begun < 1
    assert query(RUN, accepted["run"])[0][2] == "stopped"


async def under_way(deployment: Deployment, alice: Visitor, seeds: Sequence[str]) -> list[Survivor]:
    """Answers of 5 s that have begun, read by turns over one web process and the other."""
    found: list[Survivor] = []
    for seed, web in zip(seeds, itertools.cycle(deployment.webs), strict=False):
        prompt = Scenario(seed=seed, chunks=CHUNKS, rate=20).prompt
        found.append(survivor := Survivor(prompt, cookie=alice.cookie, origin=web.origin))
        survivor.reading = asyncio.create_task(survivor.run([web.ws]))
    async with asyncio.timeout(10):
        await asyncio.gather(*(survivor.begun.wait() for survivor in found))
    return found


def owners(query: Query) -> list[str]:
    return [str(owner) for (owner,) in query("SELECT lease_owner FROM chat_run WHERE ended IS NULL")]


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_the_runs_of_a_worker_that_ends_go_on_in_the_other(
    deployment: Deployment, alice: Visitor, query: Query, how: str
) -> None:
    """`kill` is kill -9; `stop` is SIGTERM, whose second to finish (CHAT_DRAIN_SECONDS) these answers do not meet."""
    seeds = [f"{how}{number}" for number in range(6)]
    survivors = await under_way(deployment, alice, seeds)
    victim = next(worker for worker in deployment.workers if any(f":{worker.pid}:" in each for each in owners(query)))
    await asyncio.to_thread(getattr(victim, how))
    gone = f":{victim.pid}:"
    await until(lambda: all(each and gone not in each for each in owners(query)), TAKE_OVER_S)
    await asyncio.to_thread(victim.start)
    for seed, survivor in zip(seeds, survivors, strict=True):
        assert survivor.reading is not None
        view = await survivor.reading
        assert view.text == expected_text(seed, CHUNKS)
        log = query(LOG, view.run)
        assert [seq for seq, _ in log] == list(range(1, len(log) + 1))
        assert [type_ for _, type_ in log if type_ in TERMINAL] == ["run.completed"]


async def test_with_redis_cut_again_and_again_an_answer_still_comes(
    deployment: Deployment, alice: Visitor, redis_url: str
) -> None:
    async with connect(deployment.webs[0], alice) as client:
        accepted = await client.prompt(Scenario(seed="cut", chunks=80, rate=20).prompt)
        reading = asyncio.create_task(client.ended(accepted["run"]))
        with redis.Redis.from_url(redis_url) as admin:
            own = admin.client_id()
            while not reading.done():
                for each in admin.client_list():
                    if each["db"] == redis_url.rpartition("/")[2] and int(each["id"]) != own:
                        admin.client_kill_filter(_id=each["id"])
                await asyncio.wait([reading], timeout=0.3)
        assert (await reading).text == expected_text("cut", 80)
