"""An answer on its way to one client: where the stream begins, and how it breaks off."""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple
from uuid import UUID

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse

from chat.protocol.errors import ChatError
from chat.runs.follow import Follower, snapshot
from chat.transports.access import Visitor
from chat.transports.aisdk.choice import Choice
from chat.transports.aisdk.encoder import Encoder
from chat.transports.aisdk.grace import grace_of
from chat.transports.desk import Desk
from chat.transports.hang_up import hang_up
from chat.transports.http import error_response
from chat.transports.streaming import Stream

# 3.4 loses the error's line, if the connection breaks along with it.
HANG_UP_SECONDS = 0.15
KEPT_HEADERS = ("Cache-Control", "Retry-After", "WWW-Authenticate", "Allow")


class Answer(NamedTuple):
    """A run and the message that it writes. `started_here`: by /api/chat, so that it ends with its last reader."""

    run: UUID
    message: UUID
    started_here: bool = True


class Reading(Stream):
    """Counts as a reader of its run until it closes."""

    def __init__(self, at: Desk, visitor: Visitor, follower: Follower, answer: Answer, encoder: Encoder) -> None:
        super().__init__(at.hub, visitor, follower)
        self._run = answer.run
        self._encoder = encoder
        # Who may only read does not end a run by leaving.
        self._grace = grace_of(at.engine) if answer.started_here and visitor.may_write else None
        if self._grace is not None:
            self._grace.join(self._run)

    def close(self) -> None:
        super().close()
        grace, self._grace = self._grace, None
        if grace is not None:
            # Whom the server cut off, as it stops, has not left.
            grace.leave(self._run, ended=self._encoder.ended or self._hub.stopping)

    async def content(self, request: HttpRequest, first: bytes) -> AsyncIterator[bytes]:
        encoder = self._encoder
        try:
            if first:
                yield first
            async for batch in self.batches():
                written = encoder.keep_alive if batch is None else encoder.encode(batch)
                if written:
                    yield written
            if not encoder.ended:
                yield encoder.broken()
        finally:
            self.close()
        if encoder.failed and encoder.cuts:
            await asyncio.sleep(HANG_UP_SECONDS)
            hang_up(request)


async def stream(
    request: HttpRequest,
    at: Desk,
    visitor: Visitor,
    choice: Choice,
    answer: Answer,
    *,
    queued: bool = False,
    replay: bool = False,
) -> StreamingHttpResponse:
    """`queued`: as of Engine.follow. `replay`: first of all what was written before. Raises ChatError."""
    encoder = choice.encoder(str(answer.message))
    first, after = encoder.begin(), 0
    if replay:
        # Not the log from its beginning: what an earlier attempt wrote, before its worker died, is void.
        state = await at.engine.read(snapshot, answer.run)
        first, after = first + encoder.encode(state), state.seq
    follower = await at.engine.follow(visitor.owner, answer.run, after, queued=queued)
    reading = Reading(at, visitor, follower, answer, encoder)
    response = reading.respond(reading.content(request, first), encoder.content_type)
    for name, value in encoder.headers.items():
        response[name] = value
    return response


def refusal(error: ChatError, status: int | None = None) -> HttpResponse:
    """The message alone: `useChat` shows the body as it is, and nothing better if it is empty."""
    known = error_response(error, status)
    response = HttpResponse(error.message, status=known.status_code, content_type="text/plain; charset=utf-8")
    for name in KEPT_HEADERS:
        if name in known:
            response[name] = known[name]
    return response
