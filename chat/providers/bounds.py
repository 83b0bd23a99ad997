"""Bounds on bodies that are read whole. Imports the HTTP client: to be imported lazily, see client.py."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

import httpx2

ERROR_BYTES = 64 * 1024
WHOLE_BYTES = 4 * 1024 * 1024


class Bounded(httpx2.AsyncByteStream):
    """Ends after `most` bytes, as if there had been no more: the rest would only fill the memory."""

    def __init__(self, stream: httpx2.AsyncByteStream, most: int) -> None:
        self._stream = stream
        self._most = most

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        left = self._most
        async with aclosing(cast(AsyncGenerator[bytes], aiter(self._stream))) as chunks:
            async for chunk in chunks:
                yield chunk[:left]
                left -= len(chunk)
                if left <= 0:
                    return

    async def aclose(self) -> None:
        await self._stream.aclose()


async def bound(response: httpx2.Response) -> None:
    """A hook of the client. What is streamed (identity, see OpenAIChat) has limits of its own."""
    streamed = response.request.headers.get("accept-encoding") == "identity"
    if response.is_error or not streamed:
        stream = cast(httpx2.AsyncByteStream, response.stream)
        response.stream = Bounded(stream, ERROR_BYTES if response.is_error else WHOLE_BYTES)
