"""Plain text: the answer's bytes and nothing else. The default of ai 2.2, and a mode of all later ones."""

from chat.protocol.events import RunEnded
from chat.transports.aisdk.encoder import PARAGRAPH, Encoder


class PlainText(Encoder):
    content_type = "text/plain; charset=utf-8"
    cuts = True

    def begin(self) -> bytes:
        return b""

    def _delta(self, part: int, kind: str, text: str) -> bytes:
        return text.encode() if kind == "text" else b""

    def _again(self) -> bytes:
        return PARAGRAPH.encode()

    def _end(self, ended: RunEnded) -> bytes:
        return b""

    def _failure(self, message: str, ended: RunEnded | None = None) -> bytes:
        return b""
