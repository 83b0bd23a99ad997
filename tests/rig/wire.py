"""A TCP proxy in front of a service, for faults of the network: cut, refused, slow, silent, or with a reply lost."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class Wire:
    """Its methods may be called from any thread; the proxy itself lives on a loop of its own."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.delay = 0.0  # seconds, in each direction
        self.refusing = False  # a connection is closed as soon as it is made
        self.silent = False  # bytes are swallowed, connections stay open: a NAT that forgot
        self.lost_replies = 0
        self._needle = b""
        self._open: set[asyncio.StreamWriter] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def cut(self) -> None:
        """Reset every connection that is open now."""
        self._call(self._abort)

    def _abort(self) -> None:
        for writer in tuple(self._open):
            writer.transport.abort()

    def lose_reply_to(self, needle: bytes) -> None:
        """The next request that holds `needle` gets through, its reply does not: the connection is cut instead."""
        self._call(lambda: setattr(self, "_needle", needle))

    @property
    def connections(self) -> int:
        return len(self._open) // 2

    def _call(self, function: Callable[[], object]) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(function)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        try:
            upstream, to_upstream = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        losing = asyncio.Event()
        self._open |= {writer, to_upstream}
        ways = [self._copy(reader, to_upstream, losing, out=True), self._copy(upstream, writer, losing, out=False)]
        copies = [asyncio.create_task(way) for way in ways]
        try:
            await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for copy in copies:
                copy.cancel()
            await asyncio.gather(*copies, return_exceptions=True)
            for side in (writer, to_upstream):
                self._open.discard(side)
                side.transport.abort()

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, losing: asyncio.Event, *, out: bool
    ) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                if self.silent:
                    continue
                if out and self._needle and self._needle in data:
                    self._needle = b""
                    losing.set()
                elif not out and losing.is_set():
                    self.lost_replies += 1
                    return
                if self.delay:
                    await asyncio.sleep(self.delay)
                writer.write(data)
                await writer.drain()

    async def run(self, started: threading.Event, ended: asyncio.Event) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await ended.wait()
        server.close()
        self._abort()


@contextmanager
def wire(target: int) -> Iterator[Wire]:
    """`target`: the port of the service on this machine."""
    proxy = Wire(target)
    started = threading.Event()
    ended = asyncio.Event()
    thread = threading.Thread(target=lambda: asyncio.run(proxy.run(started, ended)), name="wire", daemon=True)
    thread.start()
    if not started.wait(10):
        raise RuntimeError("the proxy did not start")
    try:
        yield proxy
    finally:
        proxy._call(ended.set)
        thread.join(10)
