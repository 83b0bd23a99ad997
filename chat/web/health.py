"""What a probe asks: does this process live, and should it be sent visitors?

Answered before Django, since a probe names an address as its host, which ALLOWED_HOSTS does not have. Neither answer
says more than a word on each part: anybody may ask.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from django.db import DatabaseError, InterfaceError, connection

from chat.runs.engine import Engine
from chat.transports import desk

log = logging.getLogger(__name__)

Asgi = Callable[[dict[str, Any], Any, Any], Awaitable[None]]
Answer = tuple[int, dict[str, str]]

ANSWER_SECONDS = 2.0
# So old may an answer of the database be: however many ask, it is asked once.
FRESH_SECONDS = 1.0
RETRY_AFTER_SECONDS = 2


class Health:
    def __init__(self, app: Asgi) -> None:
        self.app = app
        self._look: asyncio.Task[bool] | None = None
        self._looked = 0.0
        self._answers = True

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        path = scope["path"] if scope["type"] == "http" else ""
        if path not in {"/healthz", "/readyz"}:
            await self.app(scope, receive, send)
        elif scope["method"] not in {"GET", "HEAD"}:
            await _send(send, scope, (405, {"status": "use GET"}))
        else:
            await _send(send, scope, (200, {"status": "live"}) if path == "/healthz" else await self._ready())

    async def _ready(self) -> Answer:
        engine = desk.open_engine()
        if engine is None:
            return 503, {"status": "starting or stopping"}
        answers = await self._database(engine)
        parts = {"status": "ready" if answers else "not ready", "database": "ok" if answers else "no answer"}
        if (reached := engine.bus.reached) is not None:
            # Without Redis everything works, later by a second: no reason to send visitors elsewhere.
            parts["redis"] = "ok" if reached else "no answer"
        return (200 if answers else 503), parts

    async def _database(self, engine: Engine) -> bool:
        now = time.monotonic()
        if self._look is None or (self._look.done() and now - self._looked > FRESH_SECONDS):
            self._looked = now
            self._look = asyncio.create_task(self._ask(engine))
        # A probe that is given up must not take the answer from the others.
        return await asyncio.shield(self._look)

    async def _ask(self, engine: Engine) -> bool:
        """By the threads that serve the sockets: whether they get an answer is what counts."""
        before, self._answers = self._answers, False
        reason = f"nothing within {ANSWER_SECONDS:g} s"
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await engine.readers.call(ask)
            self._answers = True
        except (DatabaseError, InterfaceError) as error:
            reason = str(error)
        except TimeoutError:
            pass
        if before and not self._answers:
            log.warning("not ready, the database does not answer: %s", reason)
        return self._answers


def ask() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


async def _send(send: Any, scope: dict[str, Any], answer: Answer) -> None:
    status, parts = answer
    body = json.dumps(parts).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    if status == 503:
        headers.append((b"retry-after", str(RETRY_AFTER_SECONDS).encode()))
    if status == 405:
        headers.append((b"allow", b"GET, HEAD"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
