from types import SimpleNamespace

import pytest
from autobahn.exception import Disconnected
from twisted.internet.abstract import FileDescriptor

from chat.management.serving import MAX_UNREAD_BYTES, DaphneRequest, DaphneSocket


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


def test_a_client_that_reads_nothing_of_a_stream_is_dropped() -> None:
    answer = DaphneRequest.__new__(DaphneRequest)
    answer.finished, answer._response_started, answer._disconnected = False, True, True  # the last: nothing is written
    answer.channel = SimpleNamespace(transport=Unread())
    answer.client_addr = None
    piece = {"type": "http.response.body", "body": b"data: x\n\n", "more_body": True}
    answer.channel.transport.write(b"x" * MAX_UNREAD_BYTES)
    answer.handle_reply(piece)
    assert not answer.channel.transport.aborted
    answer.channel.transport.write(b"x")
    answer.handle_reply(piece)
    assert answer.channel.transport.aborted
