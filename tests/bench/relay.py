"""The floor: the least that a Python process can do to relay a token stream from SSE to a WebSocket.

It decodes nothing, stores nothing, checks nothing: the JSON string of each delta is cut out of the upstream's bytes and
put into a frame as it is. Nothing that keeps a promise can be as cheap; the table says how far away we are.
"""

import argparse
import asyncio
import json
from typing import cast
from urllib.parse import urlsplit

import uvloop

from tests.bench import wire

CONTENT = b'"content":"'
AFTER = b'"},"finish_reason"'


class Upstream(asyncio.Protocol):
    """One request to the model's server; each delta that arrives goes to the socket as one frame."""

    def __init__(self, request: bytes, client: asyncio.WriteTransport) -> None:
        self.request = request
        self.client = client
        self.rest = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        *events, self.rest = (self.rest + data).split(b"\n\n")
        for event in events:
            start = event.find(CONTENT)
            if start >= 0:
                self.relay(event, start + len(CONTENT))
            elif b"[DONE]" in event:
                self.client.write(wire.server_frame(b'{"type":"run.completed"}'))
                self.transport.close()

    def relay(self, event: bytes, start: int) -> None:
        end = event.find(AFTER, start)
        if end > start:
            self.client.write(wire.server_frame(b'{"type":"text.delta","text":"' + event[start:end] + b'"}'))


class Relay(asyncio.Protocol):
    def __init__(self, base_url: str) -> None:
        self.host = urlsplit(base_url)
        self.frames: wire.FrameReader | None = None
        self.head = b""
        self.tasks: set[asyncio.Task[object]] = set()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.frames is None:
            self.head += data
            if b"\r\n\r\n" in self.head:
                self.transport.write(wire.upgrade_answer(self.head))
                self.frames = wire.FrameReader()
            return
        for opcode, payload in self.frames.feed(data):
            if opcode == wire.TEXT:
                self.ask(json.loads(payload)["text"], self.transport)

    def ask(self, prompt: str, client: asyncio.Transport) -> None:
        messages = [{"role": "user", "content": prompt}]
        body = json.dumps({"model": "bench", "stream": True, "messages": messages}).encode()
        head = (
            f"POST {self.host.path}/chat/completions HTTP/1.1\r\nHost: {self.host.netloc}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        connecting = asyncio.get_running_loop().create_connection(
            lambda: Upstream(head.encode() + body, client), self.host.hostname or "", self.host.port or 80
        )
        task: asyncio.Task[object] = asyncio.ensure_future(connecting)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


async def serve(port: int, base_url: str) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Relay(base_url), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    options = parser.parse_args()
    uvloop.run(serve(options.port, options.upstream))
