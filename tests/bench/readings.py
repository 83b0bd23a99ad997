"""From the frames of one stream to what they prove: order, completeness, latency."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tests.upstream import answer, split_stamps

SEED = "bench"
DELTA = b'"text.delta"'
ENDS = ("run.completed", "run.failed", "run.stopped", "error")


@dataclass
class Stream:
    """One prompt and the frames that came back, each with the moment of the read that completed it."""

    sent_at: float
    frames: list[tuple[float, bytes]] = field(default_factory=list)
    closed: str = ""


@dataclass(frozen=True)
class Reading:
    first_s: float
    added_s: list[float]
    taken_s: float
    given_s: float
    problem: str


def ends(payload: bytes) -> bool:
    """Cheap for the frames that come by the thousand."""
    return DELTA not in payload and msgspec.json.decode(payload).get("type") in ENDS


def read(stream: Stream, chunks: int) -> Reading:
    texts: list[str] = []
    arrivals: list[float] = []
    sent: list[float] = []
    pieces: list[str] = []
    last: dict[str, Any] = {}
    seq, problem = 0, stream.closed
    for at, payload in stream.frames:
        last = msgspec.json.decode(payload)
        if "seq" in last and last["type"] != "run.snapshot":
            if last.get("from", last["seq"]) != seq + 1:
                problem = problem or f"seq {last['seq']} after {seq}"
            seq = last["seq"]
        if last["type"] == "text.delta":
            texts.append(last["text"])
            for nanoseconds, piece in split_stamps(last["text"]):
                pieces.append(piece)
                sent.append(nanoseconds / 1e9)
                arrivals.append(at)
    problem = problem or _incomplete(last, "".join(texts), pieces, chunks)
    if not sent:
        return Reading(0, [], 0, 0, problem or "no chunk")
    added = [arrival - stamp for arrival, stamp in zip(arrivals, sent, strict=True)]
    return Reading(arrivals[0] - stream.sent_at, added, arrivals[-1] - arrivals[0], sent[-1] - sent[0], problem)


def _incomplete(last: dict[str, Any], text: str, pieces: list[str], chunks: int) -> str:
    if last.get("type") != "run.completed":
        return f"ended with {msgspec.json.encode(last).decode()[:200] or 'nothing'}"
    if pieces != answer(SEED, chunks):
        return f"{len(pieces)} of {chunks} chunks, or other text than was sent"
    if "text_length" in last and last["text_length"] != len(text):
        return "text_length differs"
    if "text_sha256" in last and last["text_sha256"] != hashlib.sha256(text.encode()).hexdigest():
        return "text_sha256 differs"
    return ""
