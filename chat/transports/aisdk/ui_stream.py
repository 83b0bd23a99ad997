"""The UI message stream of ai 5 to 7: server-sent events, as far as 5.0.0 knows them.

Its schema is strict (an unknown key ends the answer with an error) and a request does not tell which release sent it.
"""

from typing import Any

import msgspec

from chat.protocol.events import RunEnded
from chat.transports.aisdk.encoder import Encoder

DONE = b"data: [DONE]\n\n"


class UIStream(Encoder):
    content_type = "text/event-stream"
    headers = {"X-Vercel-AI-UI-Message-Stream": "v1"}
    keep_alive = b": keep-alive\n\n"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self._open: tuple[int, str] | None = None  # the part that is being written, and its kind
        self._parts = 0

    def begin(self) -> bytes:
        return chunk("start", messageId=self.message) + chunk("start-step")

    def _delta(self, part: int, kind: str, text: str) -> bytes:
        written = b""
        if self._open != (part, kind):
            written = self._close()
            self._open = part, kind
            self._parts += 1  # no id twice: a part of a later attempt has the index of one before
            written += chunk(f"{kind}-start", id=self._id)
        return written + chunk(f"{kind}-delta", id=self._id, delta=text)

    def _again(self) -> bytes:
        """The text so far stays, as a part of its own; `data-restarted` tells the page that it is void."""
        return self._close() + chunk("data-restarted", data={}) + chunk("finish-step") + chunk("start-step")

    def _end(self, ended: RunEnded) -> bytes:
        if ended.finish_reason is None:
            return self._close() + chunk("finish-step") + chunk("abort") + DONE
        return self._close() + chunk("finish-step") + chunk("finish") + DONE

    def _failure(self, message: str, ended: RunEnded | None = None) -> bytes:
        # What is open is closed first: no page may show a part that streams for ever.
        return self._close() + chunk("error", errorText=message) + chunk("finish-step") + chunk("finish") + DONE

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        _, kind = self._open
        self._open = None
        return chunk(f"{kind}-end", id=self._id)

    @property
    def _id(self) -> str:
        return str(self._parts)


def chunk(type_: str, **fields: Any) -> bytes:
    return b"data: " + msgspec.json.encode({"type": type_, **fields}) + b"\n\n"
