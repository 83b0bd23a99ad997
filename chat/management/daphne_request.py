"""Daphne's request with a limit on its body.

Daphne calls the application once it has the whole body, and hands it over in pieces that wait in memory together. So
what chat/transports/bodies.py does for uvicorn is done here, while the body arrives.
"""

from typing import Any

from daphne.http_protocol import HTTPFactory, WebRequest
from twisted.internet import reactor

from chat.transports.bodies import LINGER_SECONDS, most_bytes, refusal


class DaphneRequest(WebRequest):  # type: ignore[misc]
    def gotLength(self, length: int | None) -> None:  # noqa: N802 - twisted's name
        super().gotLength(length)
        # Request.path is only set when all has arrived; until then the channel has it, and no public word for it.
        self._most = most_bytes(self.channel._path.partition(b"?")[0].decode("latin-1"))
        self._bytes = 0
        self._refused = False
        if length is not None and length > self._most:
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802 - twisted's name
        self._bytes += len(data)
        if not self._refused and self._bytes > self._most:
            self._refuse()
        if not self._refused:
            super().handleContentChunk(data)

    def process(self) -> Any:
        if self._refused:
            self.channel.loseConnection()
            return None
        return super().process()

    def _refuse(self) -> None:
        self._refused = True
        status, body = refusal(self._most)
        head = (
            f"HTTP/1.1 {status} Content Too Large\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        # Past twisted's own answer, which would wait for the rest of the body.
        channel = self.channel
        channel.transport.write(head.encode() + body)
        reactor.callLater(LINGER_SECONDS, channel.loseConnection)  # type: ignore[arg-type]  # its stub has it wrong


class DaphneFactory(HTTPFactory):  # type: ignore[misc]
    def buildProtocol(self, addr: Any) -> Any:  # noqa: N802 - twisted's name
        protocol = super().buildProtocol(addr)
        protocol.requestFactory = DaphneRequest
        return protocol
