"""uvicorn's HTTP with a short way for the pieces of a stream, as `uvicorn_socket.py` has one for text frames.

Django and uvicorn pass each piece through four coroutines. Once the headers are out, a piece of a chunked body is its
size and the bytes, so it can be written at once.
"""

import weakref
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from chat.transports.streaming import WRITE_NOW


class UvicornHttp(HttpToolsProtocol):
    """`write_now` is offered to the application as an ASGI extension."""

    def on_headers_complete(self) -> None:
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
