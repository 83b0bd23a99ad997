"""The data stream, version 1, of ai 2.2 to 4: `CODE:JSON` and a newline."""

import enum
from typing import Any

import msgspec

from chat.protocol.events import RunEnded
from chat.transports.aisdk.encoder import PARAGRAPH, Encoder

FINISH_REASONS = {"stop": "stop", "length": "length", "content_filter": "content-filter", "tool_limit": "other"}


class Codes(enum.IntEnum):
    """What a client knows; each knows what the ones before it do. An unknown code is an error there."""

    COMMON = 0  # 2.2 to 3.0: text and error
    STEPS = 1  # 3.4: the ends of a step and of the message
    IDS = 2  # 4.1: the beginning of a step, with the message's id
    ALL = 3  # 4.2: reasoning


class DataStream(Encoder):
    content_type = "text/plain; charset=utf-8"
    headers = {
        "X-Vercel-AI-Data-Stream": "v1",
        # 2.2 and early 3.0 would take it for plain text; from other origins they see only what is exposed.
        "X-Experimental-Stream-Data": "true",
        "Access-Control-Expose-Headers": "X-Experimental-Stream-Data",
    }
    keep_alive = b"\n"

    def __init__(self, message: str, codes: Codes = Codes.ALL) -> None:
        super().__init__(message)
        self._codes = codes
        # 2.2 and 3.0 read over the error's line.
        self.cuts = codes == Codes.COMMON

    def begin(self) -> bytes:
        return line("f", {"messageId": self.message}) if self._codes >= Codes.IDS else b""

    def _delta(self, part: int, kind: str, text: str) -> bytes:
        if kind == "text":
            return line("0", text)
        return line("g", text) if self._codes >= Codes.ALL else b""

    def _again(self) -> bytes:
        if self._codes < Codes.IDS:
            return line("0", PARAGRAPH)
        # In a step of its own, and so in a part of its own; the paragraph is for who shows `content`.
        return line("e", _finish("unknown", None) | {"isContinued": False}) + self.begin() + line("0", PARAGRAPH)

    def _end(self, ended: RunEnded) -> bytes:
        return self._finish(FINISH_REASONS.get(ended.finish_reason or "", "unknown"), ended)

    def _failure(self, message: str, ended: RunEnded | None = None) -> bytes:
        return line("3", message) + self._finish("error", ended)

    def _finish(self, reason: str, ended: RunEnded | None) -> bytes:
        if self._codes < Codes.STEPS:
            return b""
        finish = _finish(reason, ended)
        return line("e", finish | {"isContinued": False}) + line("d", finish)


def _finish(reason: str, ended: RunEnded | None) -> dict[str, Any]:
    if ended is None:
        return {"finishReason": reason}
    usage = {"promptTokens": ended.usage.input_tokens, "completionTokens": ended.usage.output_tokens}
    return {"finishReason": reason, "usage": usage}


def line(code: str, value: Any) -> bytes:
    return code.encode() + b":" + msgspec.json.encode(value) + b"\n"
