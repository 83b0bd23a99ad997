"""Opens the engine when the server starts, so that runs left by a dead process go on before anybody connects."""

import asyncio
import gc
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
        logging.getLogger("uvicorn.error").addFilter(_without_traceback)
        # daphne installs its reactor before it imports the application.
        if "daphne.server" in sys.modules:
            _open_with_daphne()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        else:
            await self.app(scope, receive, send)


async def _open() -> None:
    await desk.start_desk()
    settle_memory()


def settle_memory() -> None:
    """What is loaded now stays.

    Left to itself the collector walks all of it again for every few hundred frames: 7 % of a busy server's CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)


def _without_traceback(record: logging.LogRecord) -> bool:
    """uvicorn logs a client's invalid UTF-8 as if it were the server's error: anybody could fill the log with it.

    And it takes a response that we break off on purpose (hang_up.py) for a bug.
    """
    if record.msg == "ASGI callable returned without completing response.":
        return log.isEnabledFor(logging.DEBUG)
    if record.exc_info and isinstance(record.exc_info[1], UnicodeDecodeError):
        record.exc_info, record.levelno, record.levelname = None, logging.INFO, "INFO"
        return log.isEnabledFor(logging.INFO)
    return True


async def _lifespan(receive: Any, send: Any) -> None:
    await receive()
    try:
        await _open()
    except Exception as error:
        log.exception("the engine did not start")
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        return
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await desk.close_desk()
    await send({"type": "lifespan.shutdown.complete"})


def _open_with_daphne() -> None:
    from twisted.internet import reactor  # noqa: PLC0415  importing it installs one where daphne does not serve
    from twisted.internet.defer import Deferred  # noqa: PLC0415

    def start() -> None:
        asyncio.get_event_loop().create_task(_open()).add_done_callback(_report)

    def stop() -> "Deferred[None]":
        return Deferred.fromFuture(asyncio.ensure_future(desk.close_desk()))

    reactor.callWhenRunning(start)
    reactor.addSystemEventTrigger("before", "shutdown", stop)  # type: ignore[arg-type]  # its stub has the order wrong


def _report(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("the engine did not start", exc_info=error)
