"""A TCP proxy that cuts a WebSocket connection at a chosen place of what the server sends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class CuttingProxy:
    """Every connection is cut after `frames` frames of the server, and `inside` bytes into the next one."""

    def __init__(self, port: int, frames: int, inside: int = 0) -> None:
        self.target = port
        self.frames = frames
        self.inside = inside
        self.cuts = 0
        self.port = 0

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws/chat/"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, to_upstream = await asyncio.open_connection("127.0.0.1", self.target)
        back = asyncio.create_task(self._copy(reader, to_upstream))
        try:
            await self._relay(upstream, writer)
            self.cuts += 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # one of the two ended by itself, before the cut
        finally:
            back.cancel()
            with suppress(asyncio.CancelledError):
                await back
            for side in (writer, to_upstream):
                side.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readuntil(b"\r\n\r\n"))
        for _ in range(self.frames):
            writer.write(await _frame(reader))
            await writer.drain()
        if self.inside:
            writer.write((await _frame(reader))[: self.inside])
        await writer.drain()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(2)
    extended = {126: 2, 127: 8}.get(head[1] & 0x7F, 0)
    if extended:
        more = await reader.readexactly(extended)
        return head + more + await reader.readexactly(int.from_bytes(more))
    return head + await reader.readexactly(head[1] & 0x7F)


@asynccontextmanager
async def cutting_proxy(port: int, frames: int, inside: int = 0) -> AsyncIterator[CuttingProxy]:
    proxy = CuttingProxy(port, frames, inside)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    async with server:
        yield proxy
