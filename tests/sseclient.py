"""An HTTP client for streams that believes nothing: it reads bytes, and checks ids, merges and the final text."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Self

from tests.wsclient import EVENTS, PATIENCE_S, Frame, RunView, Violation

CHUNK_END = b"\r\n"


class Sent(NamedTuple):
    """One event, as the WHATWG's algorithm reads it. `name` is "" for an unnamed one."""

    name: str
    data: str
    id: str
    raw: str

    @property
    def frame(self) -> Frame:
        frame: Frame = json.loads(self.data)
        return frame

    @property
    def run(self) -> str:
        return self.id.partition(":")[0]

    @property
    def seq(self) -> int:
        return int(self.id.partition(":")[2])


class StreamView(RunView):
    """What a client knows of one run that it reads as SSE: text comes without seq and part, but with an id."""

    last_id = ""

    @property
    def over(self) -> bool:
        return self.ended is not None

    def hear(self, event: Sent) -> None:
        if event.run != self.run:
            raise Violation(f"an event of {event.run}")
        self.last_id = event.id
        if event.name == "":
            self._content(event)
        elif event.name in EVENTS or event.name == "run.snapshot":
            if (event.frame["type"], event.frame["seq"]) != (event.name, event.seq):
                raise Violation(f"the frame of {event.name} is {event.data}")
            self.take(event.frame)
        elif (event.name, event.seq) != ("run.accepted", 0):
            raise Violation(f"unknown event {event.name}")

    def _content(self, event: Sent) -> None:
        if self.ended is not None or event.seq <= self.seq or list(event.frame) != ["content"]:
            raise Violation(f"{event.raw!r} after {self.seq}")
        if not self.parts or self.parts[-1]["type"] != "text":
            self.parts.append({"type": "text", "text": ""})
        self.parts[-1]["text"] += event.frame["content"]
        self.seq = event.seq


class Answer:
    """The answer to one request. Its body is read when a test waits for it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.status = 0
        self.headers: dict[str, str] = {}
        self.retry: int | None = None  # milliseconds
        self.comments: list[str] = []
        self._events: AsyncIterator[Sent] | None = None

    @classmethod
    @asynccontextmanager
    async def ask(cls, port: int, method: str, path: str, body: Any = None, **headers: str) -> AsyncIterator[Self]:
        """`body` is sent as JSON, bytes as they are. In the names of headers `_` stands for `-`."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
        try:
            answer = cls(reader, writer)
            writer.write(request(port, method, path, body, **headers))
            await answer._head()
            yield answer
        finally:
            writer.transport.abort()

    async def _head(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}

    # The body -------------------------------------------------------------------------------------------------------

    async def chunks(self) -> AsyncIterator[bytes]:
        """To the end of the body. Raises asyncio.IncompleteReadError if the connection is lost before it."""
        if "transfer-encoding" not in self.headers:
            if size := int(self.headers.get("content-length", 0)):
                yield await self.reader.readexactly(size)
            return
        while True:
            async with asyncio.timeout(PATIENCE_S):
                size = int(await self.reader.readuntil(CHUNK_END), 16)
                chunk = await self.reader.readexactly(size)
                await self.reader.readexactly(2)
            if not size:
                return
            yield chunk

    async def text(self) -> str:
        return b"".join([chunk async for chunk in self.chunks()]).decode()

    async def json(self) -> Any:
        return json.loads(await self.text())

    async def error(self) -> dict[str, Any]:
        error: dict[str, Any] = (await self.json())["error"]
        return error

    # As SSE ---------------------------------------------------------------------------------------------------------

    async def events(self) -> AsyncIterator[Sent]:
        if not self.headers["content-type"].startswith("text/event-stream"):
            raise Violation(f"{self.status} {self.headers}")
        buffer, last_id = b"", ""
        async for chunk in self.chunks():
            buffer += chunk
            while b"\n\n" in buffer:
                block, _, buffer = buffer.partition(b"\n\n")
                raw = block.decode()
                fields: dict[str, list[str]] = {}
                for line in raw.split("\n"):
                    name, _, value = line.partition(": ")
                    fields.setdefault(name, []).append(value)
                last_id = fields.get("id", [last_id])[0]
                self.comments += fields.get("", [])
                if "retry" in fields:
                    self.retry = int(fields["retry"][0])
                if "data" in fields:
                    yield Sent(fields.get("event", [""])[0], "\n".join(fields["data"]), last_id, raw + "\n\n")
        if buffer:
            raise Violation(f"the body ends within an event: {buffer!r}")

    async def next(self) -> Sent:
        if self._events is None:
            self._events = self.events()
        return await anext(self._events)

    async def accepted(self) -> Frame:
        event = await self.next()
        if (event.name, event.seq) != ("run.accepted", 0):
            raise AssertionError(event)
        return event.frame

    async def follow(self, view: StreamView, *, until: int | None = None) -> StreamView:
        """Read to the end of the body, or until `view` holds everything as of the seq `until`."""
        while until is None or view.seq < until:
            try:
                view.hear(await self.next())
            except StopAsyncIteration:
                break
        return view


def request(port: int, method: str, path: str, body: Any = None, **headers: str) -> bytes:
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Content-Length: {len(data)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + data
