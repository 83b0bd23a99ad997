"""Server-Sent Events under /api/: a prompt and its answer, or a run that one may read (docs/protocol.md)."""

import functools
import random
from collections.abc import AsyncIterator
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from chat.protocol import events as run_events
from chat.protocol import sse
from chat.protocol.errors import RETRY_AFTER_SECONDS, ChatError
from chat.transports.access import Visitor
from chat.transports.desk import Desk
from chat.transports.http import View, endpoint, query_of
from chat.transports.prompting import answer, asked_by, join, run_id
from chat.transports.streaming import Stream, open_stream

# EventSource comes back after as long as this: soon, and of many that were cut at one moment not all at once.
RETRY_SECONDS = 0.5, 1.5


def comes_back(view: View) -> View:
    """A refusal that will pass, told in a way that EventSource does not give up at.

    It takes every status but 200 for final. With its last id and the word to wait a little it asks again.
    """

    @functools.wraps(view)
    async def patient(request: HttpRequest, *args: str, **kwargs: str) -> HttpResponseBase:
        response = await view(request, *args, **kwargs)
        if response.status_code in {429, 503} and _last_id(request) and _is_event_source(request):
            seconds = float(response.get("Retry-After") or RETRY_AFTER_SECONDS)
            response = HttpResponse(sse.retry(seconds * random.uniform(1, 1.5)), content_type=sse.CONTENT_TYPE)
            response["Cache-Control"] = "no-store"
        return response

    return patient


@comes_back
@endpoint("GET", "POST", changes=True)
async def stream(request: HttpRequest, at: Desk, visitor: Visitor) -> HttpResponseBase:
    """A prompt, and its answer as it is written; with a Last-Event-ID the rest of that run, and no run is started."""
    if last_id := _last_id(request):
        return await _follow(request, at, visitor, *sse.position(last_id))
    asked = asked_by(request)
    begun = None
    if request.method == "GET" and visitor.token is None and asked.id is None:
        # EventSource that lost the connection before it read an id: it must not pay for a second answer.
        begun = await join(at, visitor, asked)
    accepted, following = begun or await answer(at, visitor, asked)
    return _respond(request, following, sse.of_accepted(accepted))


@comes_back
@endpoint("GET")
async def events(request: HttpRequest, at: Desk, visitor: Visitor, run: str) -> HttpResponseBase:
    """The events of a run after the Last-Event-ID, or else after ?after= (0), and then those that come."""
    wanted = run_id(run)
    if last_id := _last_id(request):
        known, after = sse.position(last_id)
        if known != wanted:
            raise ChatError("bad_frame", "Last-Event-ID is of another run.", field="Last-Event-ID")
    else:
        after = _after(query_of(request).get("after", "0"))
    return await _follow(request, at, visitor, wanted, after)


async def _follow(request: HttpRequest, at: Desk, visitor: Visitor, run: UUID, after: int) -> HttpResponseBase:
    following = await open_stream(at, visitor, run, after)
    if following.over:
        following.close()
        # EventSource would ask again for ever; 204 is the word that has it stop.
        return HttpResponse(status=204, headers={"Cache-Control": "no-store"})
    return _respond(request, following)


def _respond(request: HttpRequest, following: Stream, first: bytes = b"") -> HttpResponseBase:
    run = following.run
    following.push(request, functools.partial(sse.of_event, run))
    return following.respond(_content(following, first), sse.CONTENT_TYPE)


async def _content(following: Stream, first: bytes) -> AsyncIterator[bytes]:
    # Something at once: proxies and browsers take a stream for open when its first byte comes.
    yield sse.retry(random.uniform(*RETRY_SECONDS)) + first
    run = following.run
    async for batch in following.batches():
        if batch is None:
            yield sse.HEARTBEAT
        elif isinstance(batch, list):
            yield sse.of_events(run, batch)
        else:
            yield sse.of_snapshot(batch, following.position)


def _last_id(request: HttpRequest) -> str:
    return request.headers.get("Last-Event-ID", "")


def _is_event_source(request: HttpRequest) -> bool:
    return "text/event-stream" in request.headers.get("Accept", "")


def _after(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= run_events.MOST_SEQ):
        raise ChatError("bad_frame", "`after` is a seq: a whole number, 0 or more.", field="after")
    return int(text)
