"""How much a request may send: refused by its Content-Length before any of it is read, else as its bytes are counted.

Django reads a body whole before it looks at the path, and uvicorn sets no limit. Daphne reads it before there is any
application to ask, so there chat/management/daphne_request.py counts, by the same table.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from django.conf import settings

log = logging.getLogger(__name__)

Asgi = Callable[[dict[str, Any], Any, Any], Awaitable[None]]

# A body has so long to arrive, and as much longer as it takes at the slowest rate that is waited for.
PATIENCE_SECONDS = 30.0
SLOWEST_BYTES_PER_SECOND = 16 * 1024
# What still comes after a refusal is thrown away for so long: a client that is sending reads the answer only then.
LINGER_SECONDS = 2.0


def most_bytes(path: str) -> int:
    """The limit for this path: that of the longest beginning that the table BODY_BYTES has of it."""
    table: dict[str, int] = settings.BODY_BYTES
    return table[max((start for start in table if _begins(path, start)), key=len, default="/")]


def _begins(path: str, start: str) -> bool:
    return path == start or path.startswith(start if start.endswith("/") else f"{start}/")


def refusal(most: int) -> tuple[int, bytes]:
    """Status and JSON body."""
    return 413, _error("too_large", f"A body here may have at most {most:,} bytes. Send less at once.")


class BodyLimit:
    """An ASGI application around another one. Answers 413, or 408 to a body that does not come to its end."""

    def __init__(self, app: Asgi) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most = most_bytes(scope["path"])
        if announced(scope["headers"]) > most:
            await _refuse(scope, receive, send, *refusal(most))
            return
        body = _Body(receive, most)
        await self.app(scope, body.receive, send)
        if body.refused is not None:
            await _refuse(scope, receive, send, *body.refused)


class _Body:
    def __init__(self, receive: Any, most: int) -> None:
        self.refused: tuple[int, bytes] | None = None
        self._receive = receive
        self._most = most
        self._bytes = 0
        self._ended = False
        self._begun = asyncio.get_running_loop().time()

    async def receive(self) -> Any:
        """A refused body looks to the application like a client that left, which it has nothing to answer to."""
        if self._ended:
            return await self._receive()
        try:
            # By what has come, not by what may come: a byte a minute must not hold a connection for an hour.
            async with asyncio.timeout_at(self._begun + PATIENCE_SECONDS + self._bytes / SLOWEST_BYTES_PER_SECOND):
                message = await self._receive()
        except TimeoutError:
            self.refused = 408, _error("bad_frame", "The body did not come to its end in time. Send it again.")
            return {"type": "http.disconnect"}
        self._bytes += len(message.get("body", b""))
        self._ended = not message.get("more_body", False)
        if self._bytes > self._most:
            self._ended = True
            self.refused = refusal(self._most)
            return {"type": "http.disconnect"}
        return message


def announced(headers: Any) -> int:
    """The Content-Length; 0 where there is none, or one that the server should not have let through."""
    value = next((value for name, value in headers if name == b"content-length"), b"0")
    return int(value) if value.isdigit() else 0


async def _refuse(scope: dict[str, Any], receive: Any, send: Any, status: int, body: bytes) -> None:
    log.info("a body for %s was refused: %d", scope["path"], status)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while (await receive()).get("more_body", False):
                pass
    await send({"type": "http.response.body", "body": b""})


def _error(code: str, message: str) -> bytes:
    return msgspec.json.encode({"error": {"code": code, "message": message, "retryable": False}})
