"""The engine and the hub of this process, opened together and closed together."""

import asyncio
from typing import NamedTuple

from chat.runs import process
from chat.runs.engine import Engine
from chat.transports.hub import Hub


class Desk(NamedTuple):
    engine: Engine
    hub: Hub


_desk: Desk | None = None
_opening: asyncio.Lock | None = None


async def open_desk() -> Desk:
    global _desk, _opening
    if _desk is None:
        if _opening is None:
            _opening = asyncio.Lock()
        async with _opening:
            if _desk is None:
                engine = await process.engine()
                hub = Hub(engine)
                await hub.open()
                _desk = Desk(engine, hub)
    return _desk


async def close_desk() -> None:
    global _desk, _opening
    closing, _desk, _opening = _desk, None, None
    if closing is not None:
        await closing.hub.close()
    await process.close()
