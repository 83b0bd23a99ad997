"""From the configuration to the provider, and to the list of models that a user can pick."""

import asyncio
from collections.abc import AsyncGenerator
from time import monotonic

import msgspec

from chat.providers.base import Delta, ModelInfo, Provider, ProviderError, Request
from chat.providers.demo import PACE_S, DemoModel
from chat.providers.openai_chat import OpenAIChat, Retries
from chat.providers.watchdog import Timeouts

DEFAULT_MODEL = "gpt-5-mini"
LIST_TTL_S = 300
LIST_RETRY_S = 30  # after a failure: a local server may just be starting


class ProviderConfig(msgspec.Struct, frozen=True, kw_only=True):
    api_key: str = ""
    base_url: str = ""
    models: tuple[str, ...] = ()  # the first is the default; empty: what the server lists
    default_model: str = DEFAULT_MODEL
    context_tokens: int = ModelInfo(id="", label="").context_tokens  # of a model whose window nobody tells
    timeouts: Timeouts = Timeouts()
    retries: Retries = Retries()
    demo_pace: float = PACE_S


def build(config: ProviderConfig) -> Provider:
    """The offline demo, unless there is a key or a server to ask."""
    if not (config.api_key or config.base_url):
        return DemoModel(config.demo_pace)
    provider = OpenAIChat(
        api_key=config.api_key,
        base_url=config.base_url,
        timeouts=config.timeouts,
        retries=config.retries,
        context_tokens=config.context_tokens,
    )
    return Listed(provider, config)


class Listed:
    """A `Provider` whose `models` never fails: the configured ones, else the server's list, else the named default."""

    def __init__(self, provider: OpenAIChat, config: ProviderConfig) -> None:
        self._provider = provider
        names = config.models or (config.default_model,)
        self._named = [ModelInfo(id=name, label=name, context_tokens=config.context_tokens) for name in names]
        self._asks_server = bool(config.base_url) and not config.models
        self._listed: list[ModelInfo] = []
        self._stale_at = 0.0
        self._asking: asyncio.Task[None] | None = None

    async def warm(self) -> None:
        await self._provider.warm()

    def stream(self, request: Request) -> AsyncGenerator[list[Delta]]:
        return self._provider.stream(request)

    async def complete(self, request: Request) -> str:
        return await self._provider.complete(request)

    async def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        await self._provider.close()

    async def models(self) -> list[ModelInfo]:
        if self._asks_server and monotonic() >= self._stale_at:
            if self._asking is None or self._asking.done():
                self._asking = asyncio.create_task(self._ask())  # a thousand sockets that come back ask it once
            if self._stale_at == 0.0:
                await asyncio.shield(self._asking)  # the first time there is no older list to go on with
        return list(self._listed or self._named)

    async def _ask(self) -> None:
        try:
            listed = await self._provider.models()
        except ProviderError:  # the last good list, or the default, stays
            self._stale_at = monotonic() + LIST_RETRY_S
            return
        default = self._named[0].id
        self._listed = sorted(listed, key=lambda model: model.id != default)
        self._stale_at = monotonic() + (LIST_TTL_S if listed else LIST_RETRY_S)
