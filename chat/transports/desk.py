"""The engine and the hub of this process, opened together and closed together."""

import asyncio
from typing import NamedTuple

from chat.protocol.errors import CloseCode
from chat.runs import process
from chat.runs.engine import Engine
from chat.transports.access import Refused
from chat.transports.hub import Hub


class Desk(NamedTuple):
    engine: Engine
    hub: Hub


_desk: Desk | None = None
_opening: asyncio.Lock | None = None
_closed = False


async def start_desk() -> Desk:
    """What a process does once, before it serves."""
    global _closed
    _closed = False
    return await open_desk()


async def open_desk() -> Desk:
    """Raises Refused once the desk was closed: daphne lets sockets in a little longer, and an engine would be left."""
    global _desk, _opening
    if _closed:
        raise Refused("The server is stopping.", CloseCode.RESTART)
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


def open_engine() -> Engine | None:
    """The engine while this process takes sockets; None before that, and from the moment it begins to end."""
    return _desk.engine if _desk is not None else None


def end_streams() -> None:
    """As soon as the server is to end: it waits for open connections before it says so to the application."""
    if _desk is not None:
        _desk.hub.stop()


async def close_desk() -> None:
    global _desk, _opening, _closed
    closing, _desk, _opening = _desk, None, None
    _closed = True
    if closing is not None:
        await closing.hub.close()
    await process.close()
