"""The SDK's client: imported and built in a thread, one per event loop.

`import openai` costs 0.8 s of CPU and a client 50 ms (its TLS context): neither may stop a loop that serves sockets.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast
from weakref import WeakKeyDictionary

import msgspec

from chat.providers.base import ProviderError
from chat.providers.failures import cut, failure, garbage, no_connection, of_status
from chat.providers.watchdog import Timeouts

if TYPE_CHECKING:
    import httpx2
    import openai

OPENAI_URL = "https://api.openai.com/v1"
NO_KEY = "no-key"  # the SDK insists on one; local servers want none

# HTTP/1.1 keeps a connection per running answer. A number, since None means 100 to aiohttp.
MAX_CONNECTIONS = 10_000
KEEP_ALIVE_S = 30


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    api_key: str = ""
    base_url: str = ""
    connect: float = Timeouts().connect

    @property
    def is_openai(self) -> bool:
        """The service itself, which wants newer names for some fields than compatible servers know."""
        return self.base_url in ("", OPENAI_URL, OPENAI_URL + "/")


class Clients:
    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, openai.AsyncOpenAI] = WeakKeyDictionary()

    async def get(self) -> "openai.AsyncOpenAI":
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            client = await asyncio.to_thread(build, self._endpoint)
            # Two first requests may both have built one. The loser has opened nothing and needs no closing.
            self._clients.setdefault(loop, client)
        return self._clients[loop]

    async def close(self) -> None:
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()


def build(endpoint: Endpoint) -> "openai.AsyncOpenAI":
    import httpx2  # noqa: PLC0415 - lazy, see the module's docstring
    import openai  # noqa: PLC0415 - lazy, see the module's docstring

    from chat.providers.bounds import bound  # noqa: PLC0415 - it imports httpx2

    # No read timeout: the watchdog keeps it, and aiohttp would set a timer at every read. `pool` covers the whole
    # connecting in aiohttp, the wait for a free slot included, so it must not be under `connect`.
    timeout = openai.Timeout(connect=endpoint.connect, pool=endpoint.connect, read=None, write=30)
    limits = httpx2.Limits(max_connections=MAX_CONNECTIONS, keepalive_expiry=KEEP_ALIVE_S)
    try:
        client = openai.AsyncOpenAI(
            api_key=endpoint.api_key or NO_KEY,
            base_url=endpoint.base_url or OPENAI_URL,
            max_retries=0,
            timeout=timeout,
            http_client=openai.DefaultAioHttpClient(limits=limits, timeout=timeout, event_hooks={"response": [bound]}),
        )
    except httpx2.InvalidURL as error:
        raise failure("upstream_unavailable", f"base URL: {error}") from error
    # Loaded on first use by the SDK (23 ms): here it still happens in the thread.
    _ = client.chat.completions.with_streaming_response, client.models.with_raw_response
    return client


def transport_errors() -> tuple[type[Exception], ...]:
    """What a failed exchange raises: a body that is read raw does not get the SDK's wrapping."""
    import aiohttp  # noqa: PLC0415 - lazy, see the module's docstring
    import httpx2  # noqa: PLC0415 - lazy, see the module's docstring
    import openai  # noqa: PLC0415 - lazy, see the module's docstring

    return openai.APIError, httpx2.HTTPError, httpx2.StreamError, aiohttp.ClientError, OSError


def failure_of_opening(error: Exception) -> ProviderError:
    import openai  # noqa: PLC0415 - lazy, see the module's docstring

    if isinstance(error, openai.APIStatusError):
        return of_status(error.status_code, error.response.headers, error.response.content)
    return no_connection(error)


def failure_of_reading(error: BaseException) -> ProviderError:
    import httpx2  # noqa: PLC0415 - lazy, see the module's docstring

    detail = f"{type(error).__name__}: {error}"
    return garbage(detail) if isinstance(error, httpx2.DecodingError) else cut(detail)


Read = Callable[[], Awaitable[bytes]]


def reader_of(response: "httpx2.Response") -> Read:
    """Reads the body as it comes from the network; b"" at its end.

    Below `iter_bytes` and the client's three layers of generators, which cost as much as the network read itself and
    add only decompression. Whoever opened the response closes it.
    """
    content = getattr(getattr(response.stream, "_stream", None), "_aiohttp_response", None)
    if content is not None and response.headers.get("content-encoding", "identity") == "identity":
        return cast(Read, content.content.readany)
    body = response.aiter_bytes()

    async def read() -> bytes:
        return await anext(body, b"")

    return read
