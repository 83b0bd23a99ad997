"""POST /api/text: the answer as plain text, chunk by chunk, for `curl -N` and the like.

Plain text has no place for anything but the answer, so an answer that is not whole says so in a last line of its own.
Programs that must know ask /api/stream.
"""

from collections.abc import AsyncIterator, Iterator

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from chat.protocol.events import Event, decode_delta, decode_ended
from chat.transports.access import Visitor
from chat.transports.desk import Desk
from chat.transports.http import endpoint
from chat.transports.prompting import answer, asked_by
from chat.transports.streaming import Stream

STOPPED = "\n[The answer was stopped.]\n"
FAILED = "\n[{}]\n"
ANEW = "\n[The server lost its place. The answer begins anew:]\n"
LEFT = "\n[The server had to end the connection. The answer goes on without you, as run {}.]\n"


@endpoint("POST")
async def text(request: HttpRequest, at: Desk, visitor: Visitor) -> HttpResponseBase:
    accepted, following = await answer(at, visitor, asked_by(request))
    response = following.respond(_content(following), "text/plain; charset=utf-8")
    response["X-Run"], response["X-Session"] = accepted.run, accepted.session
    return response


async def _content(following: Stream) -> AsyncIterator[bytes]:
    yield b""  # daphne sends its headers with the first piece, however long that takes to come
    over = False
    async for batch in following.batches():
        if isinstance(batch, list):
            if piece := "".join(_pieces(batch)):
                yield piece.encode()
            over = batch[-1].ends
        elif batch is not None:
            yield batch.text.encode()  # a repeat of long ago: its events are folded away
    if not over:
        yield LEFT.format(following.run).encode()


def _pieces(batch: list[Event]) -> Iterator[str]:
    for event in batch:
        match event.type:
            case "text.delta":
                yield decode_delta(event.data).text
            case "run.restarted":
                yield ANEW
            case "run.stopped":
                yield STOPPED
            case "run.failed":
                error = decode_ended(event.data).error
                yield FAILED.format(error.message if error else "The answer failed.")
