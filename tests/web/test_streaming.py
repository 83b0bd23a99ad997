"""No middleware holds a stream up: each piece is sent when it is there, not when all are."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, StreamingHttpResponse
from django.urls import path
from pytest_django import Settings

from chat.transports.bodies import BodyLimit

_go_on = asyncio.Event()


async def stream(request: HttpRequest) -> StreamingHttpResponse:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        await _go_on.wait()
        yield b"second"

    return StreamingHttpResponse(pieces(), content_type="text/event-stream")


urlpatterns = [path("api/stream", stream)]


@pytest.fixture
def sent(settings: Settings) -> "asyncio.Queue[dict[str, Any]]":
    settings.ROOT_URLCONF = __name__
    settings.CORS_ALLOWED_ORIGINS = ["https://app.example"]
    return asyncio.Queue()


async def test_it_works(sent: "asyncio.Queue[dict[str, Any]]", transactional_db: None) -> None:
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/api/stream",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"origin", b"https://app.example"), (b"accept-encoding", b"gzip")],
    }
    asked = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if not asked.is_set():
            asked.set()
            return {"type": "http.request"}
        await asyncio.Future()
        raise AssertionError

    serving = asyncio.create_task(BodyLimit(ASGIHandler())(scope, receive, sent.put))
    async with asyncio.timeout(10):
        start = await sent.get()
        assert (b"access-control-allow-origin", b"https://app.example") in [
            (name.lower(), value) for name, value in start["headers"]
        ]
        assert not serving.done()
        assert (await sent.get())["body"] == b"first"
        assert sent.empty()
        _go_on.set()
        assert (await sent.get())["body"] == b"second"
        await serving
