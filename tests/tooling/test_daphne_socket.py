import pytest
from autobahn.exception import Disconnected
from twisted.internet.abstract import FileDescriptor

from chat.management.serving import MAX_UNREAD_BYTES, DaphneSocket


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
