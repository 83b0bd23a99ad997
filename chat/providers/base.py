"""What a provider is: it takes a `Request` and yields the model's answer as batches of deltas.

A provider knows nothing of runs, seqs, sockets or the database. One batch is whatever one network read brought, so
a burst costs one event and a lone token is passed on at once.

    ProviderError                       everything that can go wrong, with a code of docs/errors.md
"""

from collections.abc import AsyncGenerator, Sequence
from typing import Literal, Protocol

import msgspec


class ChatTurn(msgspec.Struct, frozen=True):
    """One message of the context, oldest first."""

    role: Literal["system", "user", "assistant"]
    text: str


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of the model: the context, already cut to its window, and the sampling options."""

    model: str
    turns: Sequence[ChatTurn]
    temperature: float | None = None
    max_output_tokens: int | None = None
    user: str = ""  # an opaque id of the asking user, for the upstream's abuse detection; never a name


class TextDelta(msgspec.Struct, frozen=True, gc=False):
    text: str


class ReasoningDelta(msgspec.Struct, frozen=True, gc=False):
    text: str


class Usage(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """Tokens as the upstream counted them; `estimated` when it did not and we did."""

    input_tokens: int
    output_tokens: int
    reasoning_tokens: int = 0
    estimated: bool = False


class Finish(msgspec.Struct, frozen=True, gc=False):
    """The model said that it is done, and why. An answer without one is broken (`upstream_cut`)."""

    reason: Literal["stop", "length", "content_filter"]


class UpstreamAccepted(msgspec.Struct, frozen=True, gc=False):
    """The upstream answered with a stream. `retries` counts the failed tries before it.

    Comes first, and once more when that stream broke before its first delta and another try was accepted.
    """

    request_id: str = ""
    retries: int = 0


Delta = TextDelta | ReasoningDelta | Usage | Finish | UpstreamAccepted


class ProviderError(Exception):
    """An answer that failed.

    `message` is ours and safe to show; `detail` holds the upstream's own words and goes to the log and the admin only.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retryable: bool = False,
        status: int | None = None,
        request_id: str = "",
        detail: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retryable = retryable
        self.status = status
        self.request_id = request_id
        self.detail = detail
        self.retry_after = retry_after  # seconds that the upstream asked to wait, when it said so


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A model a user can pick. `context_tokens` is the whole window, prompt and answer together."""

    id: str
    label: str
    capabilities: tuple[str, ...] = ("text",)
    context_tokens: int = 128_000


class Provider(Protocol):
    """Writes the tokens. Bound to the event loop it is first used in."""

    def stream(self, request: Request) -> AsyncGenerator[list[Delta]]:
        """Yield the answer, `Finish` as its very last delta; raise ProviderError when it fails.

        The iterator must be closed (`contextlib.aclosing`): closing it, or cancelling the task that waits in it,
        closes the upstream's connection at once.
        """
        ...

    async def complete(self, request: Request) -> str:
        """A short answer in one piece, for titles. Raises ProviderError."""
        ...

    async def models(self) -> list[ModelInfo]:
        """The models on offer, the default first. Raises ProviderError."""
        ...

    async def warm(self) -> None:
        """Load what is slow to load, so that the first prompt need not."""
        ...

    async def close(self) -> None:
        """Release connections; must run in the loop the provider was used in."""
        ...
