"""Closing the answer or cancelling the task closes the upstream's connection at once, wherever it waits."""

import asyncio
from contextlib import aclosing
from time import monotonic

import pytest

from chat.providers.openai_chat import OpenAIChat, Retries
from tests.providers.conftest import Connect, Heard, ask, hear
from tests.upstream import Scenario, UpstreamServer

LATENCY_S = 0.1
ENDLESS = Scenario(chunks=100_000, rate=50)


async def aborted(upstream: UpstreamServer, since: float) -> None:
    await upstream.until(lambda stats: stats.active == 0 and stats.aborted == 1)
    assert upstream.stats.aborts[0].at - since < LATENCY_S


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario(slow_headers=30),
        Scenario(first_token_delay=30),
        ENDLESS,
        Scenario(stall_after=3),
        Scenario(chunks=10**6),
    ],
    ids=["before the headers", "before the first token", "mid-stream", "in a silence", "at full speed"],
)
async def test_cancelling_the_task_that_waits(upstream: UpstreamServer, connect: Connect, scenario: Scenario) -> None:
    provider, heard = connect(), Heard()
    task = asyncio.create_task(hear(provider, ask(scenario), heard))
    await upstream.until(lambda stats: stats.active == 1)
    await asyncio.sleep(0.15)  # well into the wait that the scenario is about
    stopped = monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await aborted(upstream, stopped)
    count = len(heard)
    await asyncio.sleep(0)
    assert len(heard) == count


async def test_closing_between_two_batches(upstream: UpstreamServer, connect: Connect) -> None:
    answer = connect().stream(ask(ENDLESS))
    for _ in range(4):
        await anext(answer)
    stopped = monotonic()
    await answer.aclose()
    await aborted(upstream, stopped)


async def test_closing_right_after_it_was_accepted(upstream: UpstreamServer, connect: Connect) -> None:
    answer = connect().stream(ask(Scenario(stall_after=0)))
    await anext(answer)
    stopped = monotonic()
    await answer.aclose()
    await aborted(upstream, stopped)


async def test_cancelling_a_consumer_that_awaits_something_else(upstream: UpstreamServer, connect: Connect) -> None:
    waiting = asyncio.Event()

    async def consume(provider: OpenAIChat) -> None:
        async with aclosing(provider.stream(ask(ENDLESS))) as answer:
            async for _ in answer:
                waiting.set()
                await asyncio.Event().wait()

    task = asyncio.create_task(consume(connect()))
    await waiting.wait()
    stopped = monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await aborted(upstream, stopped)


async def test_cancelling_during_the_wait_for_a_retry(upstream: UpstreamServer, connect: Connect) -> None:
    provider = connect(retries=Retries(backoff_s=15))
    task = asyncio.create_task(hear(provider, ask(Scenario(status=503))))
    await upstream.until(lambda stats: stats.refused == 1)
    await asyncio.sleep(0.05)  # the client has read the refusal
    task.cancel()
    async with asyncio.timeout(LATENCY_S):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert upstream.stats.opened == 1


async def test_stopping_one_of_many_leaves_the_others(upstream: UpstreamServer, connect: Connect) -> None:
    provider = connect()
    scenarios = [Scenario(seed=seed, chunks=20, rate=50) for seed in range(20)]
    tasks = [asyncio.create_task(hear(provider, ask(scenario))) for scenario in scenarios]
    await upstream.until(lambda stats: stats.active == 20)
    tasks[0].cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(ended[0], asyncio.CancelledError)
    assert [heard.text for heard in ended[1:] if isinstance(heard, Heard)] == [one.text for one in scenarios[1:]]


@pytest.mark.parametrize("scenario", [Scenario(chunks=8, rate=200), Scenario(chunks=4, status=503, fail_first=1)])
async def test_cancelling_at_every_turn_of_the_loop_leaves_nothing_open(
    upstream: UpstreamServer, connect: Connect, scenario: Scenario
) -> None:
    """Cancelled after 1, 2, 3 … turns of the loop, which covers the opening, and after 0, 2, 4 … ms of the stream."""
    provider = connect()
    await provider.warm()
    for turns, delay in [(turns, 0.0) for turns in range(60)] + [(60, ms / 1000) for ms in range(0, 60, 2)]:
        task = asyncio.create_task(hear(provider, ask(scenario)))
        for _ in range(turns):
            await asyncio.sleep(0)
        await asyncio.sleep(delay)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await upstream.until(lambda stats: stats.active == 0 and stats.opened > 30)
