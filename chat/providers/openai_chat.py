"""Any server that speaks OpenAI's Chat Completions, through the openai SDK.

The SDK sends the request and turns a bad status into an exception. The body is read raw, since its typed iteration
costs five times the CPU and takes HTML, an empty body or a cut for a normal end. The retries are ours, so that the
limits cover them and the reader learns of them.
"""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import msgspec

from chat.providers.answer import Answer
from chat.providers.base import Delta, ModelInfo, ProviderError, Request, UpstreamAccepted
from chat.providers.chunks import read_chunk
from chat.providers.client import Clients, Endpoint, failure_of_opening, reader_of, transport_errors
from chat.providers.failures import garbage, in_stream, redacted, request_id_of, timed_out
from chat.providers.model_list import read_models
from chat.providers.reading import Reading
from chat.providers.watchdog import Timeouts, Watchdog

if TYPE_CHECKING:
    import httpx2
    import openai

TITLE_S = 15
MODELS_S = 5  # a page waits for the list
TITLE_TOKENS = 200  # a reasoning model thinks before it writes five words

# Failures that another try may mend. A limit of ours is not among them: the reader has waited long enough.
TRY_AGAIN = {"upstream_unavailable", "upstream_rate_limited", "upstream_cut"}


class Retries(msgspec.Struct, frozen=True, kw_only=True):
    """Only before the first delta. The wait is the upstream's Retry-After, else backoff_s, doubled each time."""

    limit: int = 2
    backoff_s: float = 0.5
    longest_wait_s: float = 20


class OpenAIChat:
    """A `Provider`."""

    def __init__(
        self,
        *,
        api_key: str = "",
        base_url: str = "",
        timeouts: Timeouts | None = None,
        retries: Retries | None = None,
        context_tokens: int = ModelInfo(id="", label="").context_tokens,
    ) -> None:
        self._timeouts = timeouts or Timeouts()
        self._retries = retries or Retries()
        self._endpoint = Endpoint(api_key=api_key, base_url=base_url, connect=self._timeouts.connect)
        self._clients = Clients(self._endpoint)
        self._context_tokens = context_tokens
        self._asks_usage = True

    async def warm(self) -> None:
        """Load the SDK now and not under the first prompt."""
        await self._clients.get()

    async def close(self) -> None:
        await self._clients.close()

    async def stream(self, request: Request) -> AsyncGenerator[list[Delta]]:
        client = await self._clients.get()
        dog = Watchdog(self._timeouts)
        retries = 0
        try:
            while True:
                reading, accepted = Reading(), UpstreamAccepted(retries=retries)
                try:
                    async with AsyncExitStack() as stack:
                        response = await self._open(client, request, dog, stack)
                        accepted = UpstreamAccepted(request_id_of(response.headers), retries)
                        yield [accepted]
                        answer = Answer(reader_of(response), reading, dog, self._timeouts)
                        while batch := await answer.batch():
                            yield batch
                        return
                except ProviderError as error:
                    wait = None if reading.begun or reading.finished else self._wait(error, retries, dog)
                    if wait is None:
                        raise self._told(error, accepted.request_id) from error.__cause__
                retries += 1
                await asyncio.sleep(wait)  # inside the limits: see time_for_retry
        finally:
            dog.close()

    async def complete(self, request: Request) -> str:
        client = await self._clients.get()
        limit = request.max_output_tokens or TITLE_TOKENS
        fields = self._fields(msgspec.structs.replace(request, max_output_tokens=limit))
        create: Any = client.chat.completions.with_streaming_response.create
        try:
            async with asyncio.timeout(TITLE_S), create(**fields) as response:
                body = await response.read()
        except Exception as error:
            raise self._short_failure(error) from error
        try:
            chunk = read_chunk(body)
        except ValueError:
            raise self._told(garbage(body)) from None
        if chunk.failure():
            raise self._told(in_stream(chunk.failure()))
        message = chunk.choices[0].message if chunk.choices else None
        text = (message.content or "").strip() if message else ""
        if not text:
            raise self._told(garbage(body))
        return text

    async def models(self) -> list[ModelInfo]:
        client = await self._clients.get()
        try:
            async with asyncio.timeout(MODELS_S):
                response = await client.models.with_raw_response.list()
            return read_models(response.content, self._context_tokens)
        except Exception as error:
            raise self._short_failure(error) from error

    async def _open(
        self, client: "openai.AsyncOpenAI", request: Request, dog: Watchdog, stack: AsyncExitStack
    ) -> "httpx2.Response":
        create: Any = client.chat.completions.with_streaming_response.create
        dog.begin()
        try:
            response = await stack.enter_async_context(create(**self._fields(request), **self._streaming()))
        except asyncio.CancelledError as error:
            if not dog.interrupted():
                raise
            raise timed_out(dog.expired) from error
        except transport_errors() as error:
            raise failure_of_opening(error) from error
        finally:
            dog.end()
        opened: httpx2.Response = response.http_response
        return opened

    def _fields(self, request: Request) -> dict[str, Any]:
        ours = self._endpoint.is_openai
        optional = {
            "temperature": request.temperature,
            "max_completion_tokens" if ours else "max_tokens": request.max_output_tokens,
            "safety_identifier" if ours else "user": request.user or None,
        }
        return {
            "model": request.model,
            "messages": [],
            # Beside the typed fields: the SDK would walk through every message by its type hints, on the event loop.
            "extra_body": {"messages": [{"role": turn.role, "content": turn.text} for turn in request.turns]},
            **{name: value for name, value in optional.items() if value is not None},
        }

    def _streaming(self) -> dict[str, Any]:
        fields: dict[str, Any] = {"stream": True, "extra_headers": {"Accept-Encoding": "identity"}}
        if self._asks_usage:
            # Obfuscation pads every chunk with random text; only OpenAI knows the field.
            padding = {"include_obfuscation": False} if self._endpoint.is_openai else {}
            fields["stream_options"] = {"include_usage": True, **padding}
        return fields

    def _wait(self, error: ProviderError, retries: int, dog: Watchdog) -> float | None:
        """Seconds until another try; None for none."""
        if self._asks_usage and error.status in (400, 422) and "stream_options" in error.detail:
            self._asks_usage = False  # an older server: ask it without, from now on
            return 0
        if retries >= self._retries.limit or not error.retryable or error.code not in TRY_AGAIN:
            return None
        wait = error.retry_after
        if wait is None:
            wait = self._retries.backoff_s * 2**retries * random.uniform(0.75, 1.25)
        return wait if wait <= self._retries.longest_wait_s and dog.time_for_retry(wait) else None

    def _short_failure(self, error: Exception) -> ProviderError:
        if isinstance(error, ProviderError):
            return self._told(error)
        if isinstance(error, TimeoutError):
            return self._told(timed_out("total"))
        if isinstance(error, transport_errors()):
            return self._told(failure_of_opening(error))
        raise error

    def _told(self, error: ProviderError, request_id: str = "") -> ProviderError:
        error.detail = redacted(error.detail, self._endpoint.api_key)
        error.request_id = error.request_id or request_id
        return error
