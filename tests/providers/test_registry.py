import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from chat.providers import registry
from chat.providers.base import Provider
from chat.providers.demo import DemoModel
from chat.providers.registry import ProviderConfig, build
from tests.providers.conftest import ask, hear
from tests.upstream import Scenario, UpstreamServer, closed_port


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[UpstreamServer]:
    async with UpstreamServer(models={"alpha": 4096, "beta": None, "gpt-5-mini": None}) as server:
        yield server


async def names(provider: Provider) -> list[str]:
    return [model.id for model in await provider.models()]


async def becomes(provider: Provider, wanted: list[str]) -> None:
    """The list is renewed behind the callers' backs."""
    async with asyncio.timeout(5):
        while await names(provider) != wanted:  # noqa: ASYNC110  nothing tells when it was
            await asyncio.sleep(0.01)


async def test_without_key_and_server_it_is_the_demo() -> None:
    provider = build(ProviderConfig(demo_pace=0))
    assert isinstance(provider, DemoModel)
    assert await names(provider) == ["demo"]


async def test_only_a_key_offers_the_named_default() -> None:
    assert await names(build(ProviderConfig(api_key="k"))) == ["gpt-5-mini"]


async def test_an_explicit_list_is_taken_as_it_is(upstream: UpstreamServer) -> None:
    provider = build(ProviderConfig(base_url=upstream.base_url, models=("b", "a"), context_tokens=9))
    assert [(model.id, model.context_tokens) for model in await provider.models()] == [("b", 9), ("a", 9)]
    assert upstream.stats.connections == 0


async def test_a_server_is_asked_and_the_default_comes_first(upstream: UpstreamServer) -> None:
    provider = build(ProviderConfig(base_url=upstream.base_url))
    assert await names(provider) == ["gpt-5-mini", "alpha", "beta"]
    await provider.close()
    provider = build(ProviderConfig(base_url=upstream.base_url, default_model="unheard-of"))
    assert await names(provider) == ["alpha", "beta", "gpt-5-mini"]
    await provider.close()


async def test_the_list_is_asked_once_however_many_want_it(upstream: UpstreamServer) -> None:
    provider = build(ProviderConfig(base_url=upstream.base_url))
    await asyncio.gather(*(provider.models() for _ in range(50)))
    upstream.models = {"new": None}
    assert "new" not in await names(provider)
    assert upstream.stats.connections == 1
    await provider.close()


async def test_a_stale_list_is_renewed(upstream: UpstreamServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "LIST_TTL_S", 0)
    provider = build(ProviderConfig(base_url=upstream.base_url))
    await provider.models()
    upstream.models = {"new": None}
    assert await names(provider) != ["new"], "nobody waits while the list is asked for again"
    await becomes(provider, ["new"])
    await provider.close()


async def test_a_server_that_is_down_leaves_the_default_and_is_asked_again(
    upstream: UpstreamServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "LIST_RETRY_S", 0)
    upstream.api_key = "another"
    provider = build(ProviderConfig(base_url=upstream.base_url, default_model="named"))
    assert await names(provider) == ["named"]
    upstream.api_key = None
    await becomes(provider, ["alpha", "beta", "gpt-5-mini"])
    upstream.api_key = "another"
    monkeypatch.setattr(registry, "LIST_TTL_S", 0)
    assert await names(provider) == ["alpha", "beta", "gpt-5-mini"]
    await provider.close()


async def test_a_refused_connection_leaves_the_default() -> None:
    with closed_port() as base_url:
        provider = build(ProviderConfig(base_url=base_url))
        assert await names(provider) == ["gpt-5-mini"]
        await provider.close()


async def test_it_streams(upstream: UpstreamServer) -> None:
    provider = build(ProviderConfig(base_url=upstream.base_url))
    assert (await hear(provider, ask(Scenario(seed=3)))).text == Scenario(seed=3).text
    await provider.close()
