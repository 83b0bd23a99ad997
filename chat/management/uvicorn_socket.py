"""uvicorn's WebSocket with a short way for text frames, which are nearly all that a chat server sends.

uvicorn passes each message through a coroutine and websockets' own state machine: a tenth of what a chunk costs from
the model's server to the client. A text frame that is neither compressed nor fragmented is two to ten bytes and the
text, so it can be written at once.
"""

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from chat.transports.relay import SEND_NOW

TEXT = 0x81  # FIN and the opcode of text
# How long a client may take for what was sent to it, the goodbye included, when the server ends.
GOODBYE_SECONDS = 2.0


class UvicornSocket(WebSocketsSansIOProtocol):
    """`send_now` is offered to the application as an ASGI extension."""

    paused = False

    def pause_writing(self) -> None:
        self.paused = True
        super().pause_writing()

    def resume_writing(self) -> None:
        self.paused = False
        super().resume_writing()

    async def run_asgi(self) -> None:
        if not self.config.ws_per_message_deflate:
            self.scope["extensions"][SEND_NOW] = self.send_now  # type: ignore[assignment]
        await super().run_asgi()

    def shutdown(self) -> None:
        super().shutdown()
        # uvicorn waits for a client that reads nothing, until all its patience is used up.
        self.loop.call_later(GOODBYE_SECONDS, self.transport.abort)

    def send_now(self, text: str) -> bool:
        """Write a text frame; False if it must wait, or nothing may be sent any more: then `send` knows what to do."""
        if self.paused or self.close_sent or not self.handshake_complete or self.transport.is_closing():
            return False
        self.transport.write(text_frame(text))
        return True


def text_frame(text: str) -> bytes:
    """RFC 6455, section 5.2: what a server sends is not masked."""
    payload = text.encode()
    size = len(payload)
    if size < 126:
        return bytes((TEXT, size)) + payload
    if size < 1 << 16:
        return bytes((TEXT, 126)) + size.to_bytes(2) + payload
    return bytes((TEXT, 127)) + size.to_bytes(8) + payload
