"""uvicorn's HTTP with a short way for the pieces of a stream, as `uvicorn_socket.py` has one for text frames.

And with an end to a request's head, which httptools would take in for ever, without limit, from anybody.

Django and uvicorn pass each piece through four coroutines. Once the headers are out, a piece of a chunked body is its
size and the bytes, so it can be written at once.
"""

import weakref
from asyncio import TimerHandle, Transport
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from chat.transports.streaming import WRITE_NOW

MOST_HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 30.0


class UvicornHttp(HttpToolsProtocol):
    """`write_now` is offered to the application as an ASGI extension."""

    _in_head = True
    _head_bytes = 0
    _late: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unset_late()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head and self._late is None:
            self._wait_for_head()
        # A piece that ends a body begins another head by little at most: that is not counted.
        self._head_bytes += len(data) if self._in_head else 0
        super().data_received(data)
        if self._head_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The head of the request is too long.")

    def _wait_for_head(self) -> None:
        self._late = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _give_up(self) -> None:
        self._late = None
        # Some clients send a line end too much behind a body: no reason to end its answer.
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            self.transport.close()

    def _unset_late(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def on_message_complete(self) -> None:
        self._in_head = True
        super().on_message_complete()

    def on_headers_complete(self) -> None:
        self._in_head, self._head_bytes = False, 0
        self._unset_late()
        super().on_headers_complete()
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and cycle.scope is self.scope:  # neither holds for an upgrade to a WebSocket
            scope: Any = self.scope
            # Weakly: the scope is the cycle's own, and a ring of the two would wait for the garbage collector.
            scope.setdefault("extensions", {})[WRITE_NOW] = partial(write_now, weakref.ref(cycle))


def write_now(of: "weakref.ref[RequestResponseCycle]", data: bytes) -> bool:
    """Write a piece of the body; False if it must wait, or none may be sent: then `send` knows what to do."""
    cycle = of()
    if cycle is None or cycle.disconnected or cycle.response_complete or not cycle.response_started:
        return False
    if cycle.flow.write_paused or not cycle.chunked_encoding or cycle.transport.is_closing():
        return False
    cycle.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
    return True
