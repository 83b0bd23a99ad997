"""The events of a run and how they become frames.

An event is kept in the log as (seq, type, data) where `data` is the JSON object of its own fields. A frame is made by
putting `type`, `run` and `seq` in front of these very bytes, so what is shown is what is stored, encoded once.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Struct

MERGED_CHARS = 16_384
# JSON has no end of numbers; the log's seq ends where SQLite's and Postgres' integers do.
MOST_SEQ = 2**31 - 1
TERMINAL = frozenset({"run.completed", "run.stopped", "run.failed"})
DELTAS = frozenset({"text.delta", "reasoning.delta"})

Part = dict[str, Any]


class Event(Struct, frozen=True, gc=False):
    seq: int
    type: str
    data: str

    @property
    def ends(self) -> bool:
        """It is the run's terminal event."""
        return self.type in TERMINAL


class RunStarted(Struct, frozen=True):
    session: str
    message: str
    model: str
    attempt: int


class PartDelta(Struct, frozen=True, gc=False):
    """The data of text.delta and reasoning.delta."""

    part: int
    text: str


class RunRestarted(Struct, frozen=True):
    attempt: int
    reason: str
    parts: list[Part]


class UsageReport(Struct, frozen=True, kw_only=True):
    input_tokens: int
    output_tokens: int
    reasoning_tokens: int = 0
    cost_usd: float | None = None
    estimated: bool = False


class Timing(Struct, frozen=True, kw_only=True):
    first_token_ms: int | None
    total_ms: int


class RunError(Struct, frozen=True, kw_only=True, omit_defaults=True):
    code: str
    message: str
    retryable: bool
    status: int | None = None
    request_id: str | None = None


class RunEnded(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The data of run.completed (has finish_reason), run.stopped and run.failed (has error)."""

    message: str
    usage: UsageReport
    timing: Timing
    text_length: int
    text_sha256: str
    finish_reason: Literal["stop", "length", "content_filter", "tool_limit"] | None = None
    error: RunError | None = None


class Span(NamedTuple):
    """Adjacent deltas of one part as one: seqs `first` to `seq`."""

    first: int
    seq: int
    type: str
    data: str


_encode = msgspec.json.Encoder().encode
_decode_delta = msgspec.json.Decoder(PartDelta).decode
_decode_ended = msgspec.json.Decoder(RunEnded).decode


def encode_data(data: Struct) -> str:
    return _encode(data).decode()


def decode_delta(data: str) -> PartDelta:
    return _decode_delta(data)


def decode_ended(data: str) -> RunEnded:
    return _decode_ended(data)


def frame(run: str, event: Event) -> str:
    return f'{{"type":"{event.type}","run":"{run}","seq":{event.seq},{event.data[1:]}'


def frames(run: str, events: Sequence[Event]) -> Iterator[tuple[int, str]]:
    """Each frame with its last seq. Adjacent deltas are merged: give one event at a time for none of that."""
    if len(events) == 1:
        yield events[0].seq, frame(run, events[0])
        return
    for span in merge(events):
        yield span.seq, span_frame(run, span)


def span_frame(run: str, span: Span) -> str:
    lead = f'{{"type":"{span.type}","run":"{run}",'
    if span.first != span.seq:
        lead += f'"from":{span.first},'
    return f'{lead}"seq":{span.seq},{span.data[1:]}'


def merge(events: Iterable[Event]) -> Iterator[Span]:
    """Join adjacent deltas of the same type and part, up to MERGED_CHARS a span."""
    first = last = size = part = 0
    kind = ""
    pieces: list[str] = []
    for event in events:
        if event.type not in DELTAS:
            if pieces:
                yield _span(first, last, kind, part, pieces)
                pieces = []
            yield Span(event.seq, event.seq, event.type, event.data)
            continue
        delta = _decode_delta(event.data)
        if pieces and (event.type != kind or delta.part != part or size + len(delta.text) > MERGED_CHARS):
            yield _span(first, last, kind, part, pieces)
            pieces = []
        if not pieces:
            first, kind, part, size = event.seq, event.type, delta.part, 0
        pieces.append(delta.text)
        size += len(delta.text)
        last = event.seq
    if pieces:
        yield _span(first, last, kind, part, pieces)


def _span(first: int, last: int, kind: str, part: int, pieces: list[str]) -> Span:
    return Span(first, last, kind, encode_data(PartDelta(part, "".join(pieces))))
