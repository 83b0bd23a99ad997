import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from time import monotonic

import pytest

from chat.providers.base import ProviderError
from chat.providers.failures import LIMITS
from chat.providers.watchdog import Timeouts
from tests.providers.conftest import Connect, Heard, ask, hear
from tests.upstream import Scenario, UpstreamServer


@pytest.mark.parametrize(
    "scenario, limits, which",
    [
        (Scenario(slow_headers=9), Timeouts(first_token=0.2), "first_token"),
        (Scenario(first_token_delay=9), Timeouts(first_token=0.2), "first_token"),
        (Scenario(stall_after=0), Timeouts(first_token=0.2), "first_token"),
        (Scenario(chunks=1000, rate=50, reasoning=1000), Timeouts(first_token=0.2, total=0.4), "total"),
        (Scenario(stall_after=3), Timeouts(idle=0.2), "idle"),
        (Scenario(chunks=1000, rate=50), Timeouts(total=0.3), "total"),
        (Scenario(slow_headers=9), Timeouts(total=0.2), "total"),
    ],
    ids=lambda value: value.prompt if isinstance(value, Scenario) else None,
)
async def test_each_limit_fires_in_time_and_says_which(
    upstream: UpstreamServer, connect: Connect, scenario: Scenario, limits: Timeouts, which: str
) -> None:
    provider = connect(timeouts=limits)
    await provider.warm()
    heard, begin = Heard(), monotonic()
    with pytest.raises(ProviderError) as raised:
        await hear(provider, ask(scenario), heard)
    assert (raised.value.code, raised.value.message) == ("upstream_timeout", LIMITS[which])
    assert monotonic() - begin < 1
    await upstream.until(lambda stats: stats.aborted == 1)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_host_that_never_answers_is_a_connect_timeout(connect: Connect) -> None:
    with socket.socket() as full:  # a full backlog drops the SYNs, as a firewall does
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.socket() as first, socket.socket() as second:
            for filler in (first, second):
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
            provider = connect(base_url=f"http://127.0.0.1:{full.getsockname()[1]}/v1", timeouts=Timeouts(connect=0.3))
            with pytest.raises(ProviderError) as raised:
                await hear(provider, ask("hello"))
    assert (raised.value.code, raised.value.message) == ("upstream_timeout", LIMITS["connect"])


async def test_a_slow_drip_with_heartbeats_is_no_silence(connect: Connect) -> None:
    scenario = Scenario(chunks=6, rate=10)
    assert (await hear(connect(timeouts=Timeouts(idle=0.2, first_token=0.4)), ask(scenario))).text == scenario.text


async def test_a_slow_consumer_is_no_silence_of_the_upstream(connect: Connect) -> None:
    provider = connect(timeouts=Timeouts(idle=0.1, first_token=5))
    heard = Heard()
    async with aclosing(provider.stream(ask(Scenario(chunks=4, rate=20)))) as answer:
        async for batch in answer:
            heard.append(batch)
            await asyncio.sleep(0.25)  # longer than the idle limit
    assert heard.finish == "stop"


@asynccontextmanager
async def answering(body: bytes, again: bytes = b"") -> AsyncIterator[str]:
    """A base URL that answers with `body`, then with `again` every 20 ms, and never ends."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n" + body)
        gone = asyncio.create_task(reader.read(-1))
        while not gone.done():
            writer.write(again)
            await asyncio.wait([gone], timeout=0.02)
        await asyncio.gather(gone, return_exceptions=True)  # a reset is one way to leave
        writer.close()
        left.set()

    left = asyncio.Event()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        async with asyncio.timeout(1):
            await left.wait()


async def test_an_answer_that_is_finished_but_never_ends_is_complete(connect: Connect) -> None:
    text = b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n'
    finish = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
    async with answering(text + finish) as base_url:
        async with asyncio.timeout(2):
            heard = await hear(connect(base_url=base_url, timeouts=Timeouts(tail=0.1)), ask("hello"))
    assert (heard.text, heard.finish) == ("Hi", "stop")


async def test_heartbeats_do_not_put_off_the_first_token(connect: Connect) -> None:
    async with answering(b"", b": ping\n\n") as base_url:
        provider = connect(base_url=base_url, timeouts=Timeouts(first_token=0.3, idle=0.2))
        with pytest.raises(ProviderError) as raised:
            await hear(provider, ask("hello"))
    assert raised.value.message == LIMITS["first_token"]


async def test_heartbeats_are_life_afterwards(connect: Connect) -> None:
    async with answering(b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n', b": ping\n\n") as base_url:
        provider = connect(base_url=base_url, timeouts=Timeouts(idle=0.2, total=0.6))
        with pytest.raises(ProviderError) as raised:
            await hear(provider, ask("hello"))
    assert raised.value.message == LIMITS["total"]
