"""An upstream on real TCP, and providers whose limits are short and whose waits are none."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest_asyncio

from chat.providers.base import ChatTurn, Delta, Finish, ReasoningDelta, Request, TextDelta, UpstreamAccepted, Usage
from chat.providers.openai_chat import OpenAIChat, Retries
from tests.upstream import Scenario, UpstreamServer

Connect = Callable[..., OpenAIChat]


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[UpstreamServer]:
    async with UpstreamServer() as server:
        yield server


@pytest_asyncio.fixture
async def connect(upstream: UpstreamServer) -> AsyncIterator[Connect]:
    """Makes providers, and fails the test if one leaves anything behind in the loop."""
    made: list[OpenAIChat] = []
    noise: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))

    def build(**options: Any) -> OpenAIChat:
        options = {"base_url": upstream.base_url, "retries": Retries(backoff_s=0.01), **options}
        made.append(OpenAIChat(**options))
        return made[-1]

    yield build
    for provider in made:
        await provider.close()
    gc.collect(1)  # what this test made; all that Django and the SDK loaded would take 200 ms each time
    await asyncio.sleep(0)  # one turn, in which a destroyed task or generator would speak up
    assert noise == []


def ask(scenario: Scenario | str, **fields: Any) -> Request:
    text = scenario if isinstance(scenario, str) else scenario.prompt
    return Request(model="test-model", turns=[ChatTurn("user", text)], **fields)


class Heard(list[list[Delta]]):
    """The batches of one answer."""

    @property
    def deltas(self) -> list[Delta]:
        return [delta for batch in self for delta in batch]

    @property
    def text(self) -> str:
        return "".join(delta.text for delta in self.deltas if isinstance(delta, TextDelta))

    @property
    def reasoning(self) -> str:
        return "".join(delta.text for delta in self.deltas if isinstance(delta, ReasoningDelta))

    @property
    def usage(self) -> Usage | None:
        return next((delta for delta in self.deltas if isinstance(delta, Usage)), None)

    @property
    def finish(self) -> str | None:
        return next((delta.reason for delta in self.deltas if isinstance(delta, Finish)), None)

    @property
    def accepted(self) -> list[UpstreamAccepted]:
        return [delta for delta in self.deltas if isinstance(delta, UpstreamAccepted)]


async def hear(provider: Any, request: Request, heard: Heard | None = None) -> Heard:
    heard = Heard() if heard is None else heard
    async for batch in provider.stream(request):
        heard.append(batch)
    return heard
