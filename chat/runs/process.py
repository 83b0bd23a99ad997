"""The one engine of this process, made from the settings when it is first needed."""

import asyncio

from django.conf import settings

from chat.providers.base import Provider
from chat.providers.registry import ProviderConfig, build
from chat.providers.watchdog import Timeouts
from chat.runs.engine import Engine

_engine: Engine | None = None
_opening: asyncio.Lock | None = None


def provider() -> Provider:
    return build(
        ProviderConfig(
            api_key=settings.OPENAI_API_KEY,
            base_url=settings.OPENAI_BASE_URL,
            models=tuple(settings.CHAT_MODELS),
            context_tokens=settings.CHAT_CONTEXT_TOKENS,
            timeouts=Timeouts(
                connect=settings.CHAT_CONNECT_TIMEOUT,
                first_token=settings.CHAT_FIRST_TOKEN_TIMEOUT,
                idle=settings.CHAT_IDLE_TIMEOUT,
                total=settings.CHAT_TOTAL_TIMEOUT,
            ),
        )
    )


def current() -> Engine | None:
    return _engine


async def engine() -> Engine:
    """The process' engine, opened on the running event loop."""
    global _engine, _opening
    if _engine is not None:
        return _engine
    if _opening is None:
        _opening = asyncio.Lock()
    async with _opening:
        if _engine is None:
            fresh = Engine(provider(), worker=settings.CHAT_WORKER, capacity=None if settings.CHAT_WORKER else 0)
            await fresh.open()
            _engine = fresh
    return _engine


async def close() -> None:
    global _engine, _opening
    closing, _engine, _opening = _engine, None, None
    if closing is not None:
        await closing.close()
