import asyncio
from time import monotonic

import pytest

from chat.providers.base import ProviderError
from chat.providers.openai_chat import Retries
from chat.providers.watchdog import Timeouts
from tests.providers.conftest import Connect, Heard, ask, hear
from tests.upstream import Scenario, UpstreamServer


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
async def test_a_refused_try_is_repeated_and_told(upstream: UpstreamServer, connect: Connect, status: int) -> None:
    heard = await hear(connect(), ask(Scenario(status=status, fail_first=2)))
    assert [accepted.retries for accepted in heard.accepted] == [2]
    assert heard.text == Scenario().text
    assert upstream.stats.opened == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_a_try_that_cannot_succeed_is_not_repeated(
    upstream: UpstreamServer, connect: Connect, status: int
) -> None:
    with pytest.raises(ProviderError):
        await hear(connect(), ask(Scenario(status=status)))
    assert upstream.stats.opened == 1


async def test_a_used_up_quota_is_not_asked_again(upstream: UpstreamServer, connect: Connect) -> None:
    with pytest.raises(ProviderError) as raised:
        await hear(connect(), ask(Scenario(status=429, body={"error": {"code": "insufficient_quota"}})))
    assert not raised.value.retryable
    assert upstream.stats.opened == 1


async def test_after_two_retries_it_fails(upstream: UpstreamServer, connect: Connect) -> None:
    with pytest.raises(ProviderError) as raised:
        await hear(connect(), ask(Scenario(status=503)))
    assert (raised.value.code, raised.value.status, raised.value.request_id) == ("upstream_unavailable", 503, "req-3")
    assert upstream.stats.opened == 3


@pytest.mark.parametrize("broken", [Scenario(cut_after=0), Scenario(cut_after=-1), Scenario(eof_after=0)])
async def test_a_stream_cut_before_its_first_delta_is_repeated(
    upstream: UpstreamServer, connect: Connect, broken: Scenario
) -> None:
    upstream.script(broken)
    heard = await hear(connect(), ask("hello"))
    assert heard.accepted[-1].retries == 1
    assert heard.text == Scenario().text


@pytest.mark.parametrize("part", ["text", "reasoning"])
async def test_nothing_is_repeated_after_the_first_delta(upstream: UpstreamServer, connect: Connect, part: str) -> None:
    heard = Heard()
    scenario = Scenario(cut_after=1) if part == "text" else Scenario(reasoning=1, cut_after=0)
    with pytest.raises(ProviderError):
        await hear(connect(), ask(scenario), heard)
    assert heard.text + heard.reasoning != ""
    assert upstream.stats.opened == 1


async def test_retry_after_is_waited_for(connect: Connect) -> None:
    provider = connect(retries=Retries(backoff_s=9))
    begin = monotonic()
    await hear(provider, ask(Scenario(status=429, fail_first=1, retry_after_ms=200)))
    assert 0.2 <= monotonic() - begin < 1


async def test_a_long_retry_after_fails_at_once_and_is_passed_on(upstream: UpstreamServer, connect: Connect) -> None:
    with pytest.raises(ProviderError) as raised:
        await hear(connect(), ask(Scenario(status=429, retry_after=21)))
    assert raised.value.retry_after == 21
    assert upstream.stats.opened == 1


async def test_a_wait_beyond_the_first_token_limit_fails_at_once(upstream: UpstreamServer, connect: Connect) -> None:
    provider = connect(timeouts=Timeouts(first_token=2))
    async with asyncio.timeout(1):
        with pytest.raises(ProviderError) as raised:
            await hear(provider, ask(Scenario(status=503, retry_after=5)))
    assert raised.value.code == "upstream_unavailable"
    assert upstream.stats.opened == 1
