"""From a run's events to what one protocol writes for them. An encoder knows no request, no network and no clock."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import msgspec

from chat.protocol.events import (
    DELTAS,
    TERMINAL,
    Event,
    RunEnded,
    RunRestarted,
    RunStarted,
    decode_delta,
    decode_ended,
    merge,
)
from chat.protocol.frames import Snapshot

BROKEN = "The connection ended before the answer did. Load it again to see the rest."
# A new attempt's text follows text that cannot be taken back.
PARAGRAPH = "\n\n"


class Encoder(ABC):
    """One answer to one client: `begin` once, then `encode` for each batch; `broken` if they end too early.

    Each gives whole lines or events, to be written at once. `ended`: nothing more is to be written.
    """

    content_type: ClassVar[str]
    headers: ClassVar[Mapping[str, str]] = {}
    keep_alive: ClassVar[bytes] = b""
    # Whether a client learns of a failure only when its connection breaks.
    cuts: bool = False

    def __init__(self, message: str) -> None:
        self.message = message
        self.ended = False
        self.failed = False
        self._attempt = 0
        self._told: list[int] = []  # the characters of each part that were written

    @abstractmethod
    def begin(self) -> bytes: ...

    def encode(self, batch: Snapshot | Sequence[Event]) -> bytes:
        if isinstance(batch, Snapshot):
            return self._snapshot(batch)
        return b"".join(self._event(span.type, span.data) for span in merge(batch))

    def broken(self) -> bytes:
        self.ended = self.failed = True
        return self._failure(BROKEN)

    def _event(self, type_: str, data: str) -> bytes:
        if type_ in DELTAS:
            delta = decode_delta(data)
            return self._part(delta.part, type_.removesuffix(".delta"), delta.text)
        if type_ == "run.started":
            self._attempt = msgspec.json.decode(data, type=RunStarted).attempt
        if type_ == "run.restarted":
            restarted = msgspec.json.decode(data, type=RunRestarted)
            return self._restart(restarted.attempt, kept=len(restarted.parts))
        if type_ in TERMINAL:
            self.ended = True
            ended = decode_ended(data)
            if type_ == "run.failed" and ended.error is not None:
                self.failed = True
                return self._failure(ended.error.message, ended)
            return self._end(ended)
        return b""

    def _snapshot(self, state: Snapshot) -> bytes:
        """What it holds beyond what was written."""
        written = b""
        if self._attempt != state.attempt:
            written += self._restart(state.attempt)
        for index, part in enumerate(state.parts):
            known = self._told[index] if index < len(self._told) else 0
            if text := part.get("text", "")[known:]:
                written += self._part(index, part["type"], text)
        return written

    def _part(self, index: int, kind: str, text: str) -> bytes:
        self._told += [0] * (index + 1 - len(self._told))
        self._told[index] += len(text)
        return self._delta(index, kind, text)

    def _restart(self, attempt: int, kept: int = 0) -> bytes:
        """The first `kept` parts stand."""
        self._attempt = attempt
        shown = any(self._told[kept:])
        del self._told[kept:]
        return self._again() if shown else b""

    # What each protocol has its own words for -----------------------------------------------------------------------

    @abstractmethod
    def _delta(self, part: int, kind: str, text: str) -> bytes: ...

    @abstractmethod
    def _again(self) -> bytes:
        """Another attempt writes the answer anew, and something of the one before was written."""

    @abstractmethod
    def _end(self, ended: RunEnded) -> bytes:
        """It is complete, or was stopped (then without a finish_reason)."""

    @abstractmethod
    def _failure(self, message: str, ended: RunEnded | None = None) -> bytes: ...
