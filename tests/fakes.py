"""Small real classes at the seams of the engine."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

from chat.providers.base import (
    Delta,
    Finish,
    ModelInfo,
    ProviderError,
    Request,
    TextDelta,
)

Step = str | float | ProviderError | asyncio.Event | Delta


class ScriptedProvider:
    """Plays a list of steps: text to stream, seconds to wait, an event to wait for, an error to raise, a delta.

    `script` may be changed between runs, or be a function of the request. A script without a Finish gets one.
    """

    def __init__(self, *steps: Step) -> None:
        self.script: Sequence[Step] | Callable[[Request], Sequence[Step]] = steps
        self.requests: list[Request] = []
        self.opened = 0
        self.closed = 0
        self.title = "A title"
        self.known = [ModelInfo(id="alpha", label="Alpha"), ModelInfo(id="beta", label="Beta")]

    async def stream(self, request: Request) -> AsyncGenerator[list[Delta]]:
        self.requests.append(request)
        self.opened += 1
        steps = list(self.script(request) if callable(self.script) else self.script)
        if not any(isinstance(step, Finish | ProviderError) for step in steps):
            steps.append(Finish("stop"))
        try:
            for step in steps:
                match step:
                    case str():
                        yield [TextDelta(step)]
                    case float() | int():
                        await asyncio.sleep(step)
                    case asyncio.Event():
                        await step.wait()
                    case ProviderError():
                        raise step
                    case _:
                        yield [step]
        finally:
            self.closed += 1

    async def complete(self, request: Request) -> str:
        self.requests.append(request)
        return self.title

    async def models(self) -> list[ModelInfo]:
        return self.known

    async def warm(self) -> None:
        pass

    async def close(self) -> None:
        pass
