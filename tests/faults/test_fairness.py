"""Fairness in seconds: whoever queues much makes nobody else wait."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from tests.rig import Deployment, OwnPostgres, OwnRedis, audit, deployment
from tests.upstream import Scenario
from tests.visitors import Visitor
from tests.waiting import until
from tests.wsclient import Client, Who

PLACES = 4  # of each worker
QUEUED = 50
LATER_S = 2.0
PROMPTS = 5


@pytest.fixture(scope="module")
def whole(own_postgres: OwnPostgres, own_redis: OwnRedis, upstream: str) -> Iterator[Deployment]:
    with deployment(upstream, postgres=own_postgres, redis=own_redis, CHAT_WORKER_RUNS=str(PLACES)) as whole:
        yield whole


def who(visitor: Visitor) -> Who:
    return Who(cookie=visitor.cookie, origin=f"http://127.0.0.1:{visitor.port}")


async def first_token(client: Client, seed: str) -> float:
    """Seconds from the prompt to the first token of an answer that is done soon after."""
    begun = time.monotonic()
    run = (await client.prompt(Scenario(seed=seed, chunks=3, rate=20).prompt))["run"]
    await client.until_type("text.delta", run=run)
    waited = time.monotonic() - begun
    await client.ended(run)
    return waited


@pytest.mark.slow
async def test_50_queued_runs_of_one_user_delay_another_by_two_seconds_at_most(whole: Deployment) -> None:
    greedy, modest = whole.visitor(), whole.visitor()
    async with (
        Client.connect(whole.webs[0].ws, **who(greedy)) as many,
        Client.connect(whole.webs[1].ws, **who(modest)) as one,
    ):
        idle = max([await first_token(one, f"idle{number}") for number in range(3)])
        prompts = [Scenario(seed=f"greedy{number}", chunks=60, rate=20).prompt for number in range(QUEUED)]
        runs = [(await many.prompt(prompt))["run"] for prompt in prompts]
        reading = asyncio.create_task(many.closed())
        await until(lambda: _running(whole) >= 2 * (PLACES - 1), 10)
        waits = [await first_token(one, f"busy{number}") for number in range(PROMPTS)]
        assert _running(whole) >= 2 * (PLACES - 1), "there was no crowd any more"
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        for run in runs:
            await many.ask("run.stop", run=run)
    assert max(waits) <= idle + LATER_S, (idle, waits)
    await until(lambda: whole.stored.unended() == 0, 10)
    audit(whole, [])


def _running(whole: Deployment) -> int:
    return int(whole.stored.value("SELECT count(*) FROM chat_run WHERE status = 'running'"))
