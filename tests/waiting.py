import asyncio
from collections.abc import Callable


async def until(holds: Callable[[], bool], seconds: float) -> None:
    """Look again and again: for what another process does and tells nobody of."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
