"""Opens the engine when the server starts, so that runs left by a dead process go on before anybody connects."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from chat.transports import desk

log = logging.getLogger(__name__)

Asgi = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


class Lifespan:
    """Wraps the application: the ASGI lifespan where the server speaks it (uvicorn), daphne's reactor where not."""

    def __init__(self, app: Asgi) -> None:
        self.app = app
        # daphne installs its reactor before it imports the application.
        if "daphne.server" in sys.modules:
            _open_with_daphne()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        else:
            await self.app(scope, receive, send)


async def _lifespan(receive: Any, send: Any) -> None:
    await receive()
    try:
        await desk.open_desk()
    except Exception as error:
        log.exception("the engine did not start")
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        return
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await desk.close_desk()
    await send({"type": "lifespan.shutdown.complete"})


def _open_with_daphne() -> None:
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred

    def start() -> None:
        asyncio.get_event_loop().create_task(desk.open_desk()).add_done_callback(_report)

    def stop() -> "Deferred[None]":
        return Deferred.fromFuture(asyncio.ensure_future(desk.close_desk()))

    reactor.callWhenRunning(start)
    reactor.addSystemEventTrigger("before", "shutdown", stop)


def _report(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("the engine did not start", exc_info=error)
