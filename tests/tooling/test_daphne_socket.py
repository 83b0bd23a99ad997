import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from autobahn.exception import Disconnected
from daphne.server import Server
from twisted.internet.abstract import FileDescriptor

from chat.management.serving import (
    MAX_UNREAD_BYTES,
    UNREAD_PAUSE_SECONDS,
    UNREAD_STREAM_BYTES,
    Daphne,
    DaphneSocket,
)


class Unread(FileDescriptor):
    """Twisted's own buffer, and nobody who empties it."""

    connected = True
    aborted = False

    def startWriting(self) -> None:  # noqa: N802 - Twisted's name
        return

    def abortConnection(self) -> None:  # noqa: N802 - Twisted's name
        self.aborted = True


def test_a_client_that_reads_nothing_of_many_large_frames_is_dropped() -> None:
    socket = DaphneSocket()
    socket.transport = Unread()
    socket.transport.write(b"x" * (MAX_UNREAD_BYTES + 1))
    with pytest.raises(Disconnected):
        socket.sendMessage(b"one more")
    assert socket.transport.aborted


async def test_a_stream_waits_for_a_client_that_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, Any]] = []

    async def handle_reply(self: Any, protocol: Any, message: dict[str, Any]) -> None:
        sent.append(message)

    monkeypatch.setattr(Server, "handle_reply", handle_reply)
    server, transport = Daphne.__new__(Daphne), Unread()
    request = SimpleNamespace(channel=SimpleNamespace(transport=transport))
    piece = {"type": "http.response.body", "body": b"x", "more_body": True}
    transport.write(b"x" * UNREAD_STREAM_BYTES)
    await server.handle_reply(request, piece)
    transport.write(b"x")
    waiting = asyncio.create_task(server.handle_reply(request, piece))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), 3 * UNREAD_PAUSE_SECONDS)
    assert sent == [piece]
    request.channel = None  # it leaves
    await waiting
    assert sent == [piece, piece]
