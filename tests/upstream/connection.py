"""One keep-alive HTTP/1.1 connection to the upstream."""

import asyncio
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import httptools
import msgspec

from tests.upstream.play import Act, Reply, on_wire
from tests.upstream.stream import Stream, reset

if TYPE_CHECKING:
    from tests.upstream.server import UpstreamServer

REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}


@dataclass(slots=True)
class Request:
    method: str = ""
    path: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    keep_alive: bool = True


@dataclass(slots=True)
class Response:
    """A whole answer, or (with `reply`) the head of a streamed one."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    reply: Reply | None = None

    @classmethod
    def of(cls, status: int, value: Any, headers: dict[str, str] | None = None) -> "Response":
        return cls(status, msgspec.json.encode(value), headers=headers or {})

    def encode(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {REASONS.get(self.status, 'Status')}", f"content-type: {self.content_type}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.reply is None:
            lines.append(f"content-length: {len(self.body)}")
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body


class Connection(asyncio.Protocol):
    """Reads all the time, also while it streams: that is how a client that leaves is noticed at once."""

    def __init__(self, server: "UpstreamServer") -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._request = Request()
        self._waiting: list[Request] = []  # pipelined behind a stream
        self._stream: Stream | None = None
        self._reply: Reply | None = None
        self._number = 0
        self._keep_alive = True
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        # 0: a write goes to the socket at once (uvloop would gather those of one turn), and paused means "not all out".
        self.transport.set_write_buffer_limits(high=0)
        connection = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server.connected(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.disconnected(self)
        if self._stream is not None and self._reply is not None:
            self._stream.stop()
            self._server.aborted(self._reply, self._number)
            self._stream = self._reply = None

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.transport.write(Response.of(400, {"error": {"message": str(error)}}).encode())
            self.transport.close()

    def pause_writing(self) -> None:
        if self._stream is not None:
            self._stream.pause()

    def resume_writing(self) -> None:
        if self._stream is not None:
            self._stream.resume()

    # Called by the parser.

    def on_url(self, url: bytes) -> None:
        self._request.path += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._request.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._request.body += body

    def on_message_complete(self) -> None:
        request, self._request = self._request, Request()
        request.method = self._parser.get_method().decode("ascii")
        request.path = request.path.partition("?")[0]
        request.keep_alive = self._parser.should_keep_alive()
        self._waiting.append(request)
        self._serve()

    def _serve(self) -> None:
        while self._waiting and self._stream is None and not self.transport.is_closing():
            request = self._waiting.pop(0)
            response = self._server.respond(request)
            if response.reply is not None:
                self._begin(response, response.reply, request)
            else:
                self.transport.write(response.encode())
                if not request.keep_alive:
                    self.transport.close()

    def _begin(self, response: Response, reply: Reply, request: Request) -> None:
        scenario = reply.scenario
        if scenario.framing == "close":
            response.headers["connection"] = "close"
        else:
            response.headers["transfer-encoding"] = "chunked"
        if scenario.gzip:
            response.headers["content-encoding"] = "gzip"
        self._number = self._server.ledger.stats.opened
        self._reply, self._keep_alive = reply, request.keep_alive
        self._stream = Stream(self.transport, on_wire(reply, response.encode()), self._ended)
        self._stream.pump()

    def _ended(self, act: Act) -> None:
        reply, self._stream, self._reply = self._reply, None, None
        if reply is None:
            return
        self._server.ended(reply, act)
        if act is Act.CUT:
            reset(self.transport)
        elif act is Act.FIN or not self._keep_alive:
            self.transport.close()
        else:
            # Not from inside the pump of the stream before.
            asyncio.get_running_loop().call_soon(self._serve)
