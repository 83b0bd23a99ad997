"""The one engine of this process, made from the settings when it is first needed."""

import asyncio
import contextlib

from django.conf import settings

from chat.eventlog import RedisBus
from chat.providers.base import Provider, ProviderError
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


async def engine(*, runs: int | None = None) -> Engine:
    """The process' engine, opened on the running event loop. `runs`: it is a worker's, for so many at once."""
    global _engine, _opening
    if _engine is not None:
        return _engine
    if _opening is None:
        _opening = asyncio.Lock()
    async with _opening:
        if _engine is None:
            worker = settings.CHAT_WORKER or runs is not None
            bus = RedisBus(settings.REDIS_URL) if settings.REDIS_URL else None
            fresh = Engine(provider(), worker=worker, capacity=runs if worker else 0, bus=bus)
            if runs is not None:
                # It takes runs from its first moment on: they must not wait for what is slow to load.
                with contextlib.suppress(ProviderError):  # every run will tell of it
                    await fresh.provider.warm()
            await fresh.open()
            _engine = fresh
    return _engine


async def close() -> None:
    global _engine, _opening
    closing, _engine, _opening = _engine, None, None
    if closing is not None:
        await closing.close()
