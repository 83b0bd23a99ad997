"""Folds a run's events into the answer they add up to: the law that snapshot + later events == the whole log."""

from collections.abc import Iterable

import msgspec

from chat.protocol.events import DELTAS, Event, Part, RunRestarted, RunStarted, decode_delta

_decode_started = msgspec.json.Decoder(RunStarted).decode
_decode_restarted = msgspec.json.Decoder(RunRestarted).decode


class Answer:
    """The parts of a message as of `seq`."""

    def __init__(self) -> None:
        self.seq = 0
        self.attempt = 0
        self._kinds: list[str] = []
        self._pieces: list[list[str]] = []

    def apply(self, events: Iterable[Event]) -> "Answer":
        for event in events:
            if event.type in DELTAS:
                delta = decode_delta(event.data)
                self.add(delta.part, event.type.removesuffix(".delta"), delta.text)
            elif event.type == "run.started":
                self.attempt = _decode_started(event.data).attempt
            elif event.type == "run.restarted":
                restarted = _decode_restarted(event.data)
                self.attempt = restarted.attempt
                self._kinds = [part["type"] for part in restarted.parts]
                self._pieces = [[part["text"]] for part in restarted.parts]
            self.seq = event.seq
        return self

    def add(self, part: int, kind: str, text: str) -> None:
        if part == len(self._kinds):
            self._kinds.append(kind)
            self._pieces.append([])
        self._pieces[part].append(text)

    @property
    def parts(self) -> list[Part]:
        return [{"type": kind, "text": "".join(pieces)} for kind, pieces in zip(self._kinds, self._pieces, strict=True)]

    @property
    def text(self) -> str:
        return text_of(self.parts)


def text_of(parts: list[Part]) -> str:
    return "".join(part["text"] for part in parts if part["type"] == "text")
