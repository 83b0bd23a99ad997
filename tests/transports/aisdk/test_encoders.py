"""What each protocol writes for a run's events: from values to bytes, with no server."""

import itertools
import json
from collections.abc import Sequence
from typing import Any

import pytest

from chat.protocol.events import (
    Event,
    PartDelta,
    RunEnded,
    RunError,
    RunRestarted,
    RunStarted,
    Timing,
    UsageReport,
    encode_data,
)
from chat.protocol.frames import Snapshot
from chat.transports.aisdk.choice import CODES, Choice
from chat.transports.aisdk.data_stream import Codes
from chat.transports.aisdk.encoder import BROKEN, Encoder

MESSAGE = "01a21476-536e-718c-8ba0-ca3fc5502179"
USAGE = {"promptTokens": 3, "completionTokens": 7}
CHOICES = [Choice("text"), Choice("ui"), *(Choice("data", codes) for codes in Codes)]


def events(*steps: tuple[str, Any]) -> list[Event]:
    return [Event(seq, type_, encode_data(data)) for seq, (type_, data) in enumerate(steps, 1)]


def started(attempt: int = 1) -> tuple[str, RunStarted]:
    return "run.started", RunStarted("s", MESSAGE, "m", attempt)


def text(words: str, part: int = 0) -> tuple[str, PartDelta]:
    return "text.delta", PartDelta(part, words)


def thought(words: str, part: int = 0) -> tuple[str, PartDelta]:
    return "reasoning.delta", PartDelta(part, words)


def restarted(attempt: int = 2) -> tuple[str, RunRestarted]:
    return "run.restarted", RunRestarted(attempt, "worker_lost", [])


def ended(kind: str = "completed", reason: Any = None, message: str = "") -> tuple[str, RunEnded]:
    error = RunError(code="upstream_cut", message=message, retryable=True) if message else None
    return f"run.{kind}", RunEnded(
        message=MESSAGE,
        usage=UsageReport(input_tokens=3, output_tokens=7),
        timing=Timing(first_token_ms=1, total_ms=2),
        text_length=0,
        text_sha256="",
        finish_reason=reason,
        error=error,
    )


def written(choice: Choice, *steps: tuple[str, Any]) -> bytes:
    encoder = choice.encoder(MESSAGE)
    return encoder.begin() + b"".join(encoder.encode([event]) for event in events(*steps))


def chunks(body: bytes) -> list[Any]:
    assert body.endswith(b"\n\n")
    lines = body.decode().split("\n\n")[:-1]
    assert all(line.startswith("data: ") for line in lines)
    return ["[DONE]" if line == "data: [DONE]" else json.loads(line[6:]) for line in lines]


def codes(body: bytes) -> list[tuple[str, Any]]:
    assert body.endswith(b"\n")
    return [(line[0], json.loads(line[2:])) for line in body.decode().split("\n")[:-1]]


WHOLE = [started(), thought("Hm"), thought("m."), text("Hel", 1), text("lo\n\u2028", 1), ended("completed", "stop")]


def test_text_is_the_answers_bytes() -> None:
    assert written(Choice("text"), *WHOLE) == "Hello\n\u2028".encode()


def test_a_ui_stream() -> None:
    assert chunks(written(Choice("ui"), *WHOLE)) == [
        {"type": "start", "messageId": MESSAGE},
        {"type": "start-step"},
        {"type": "reasoning-start", "id": "1"},
        {"type": "reasoning-delta", "id": "1", "delta": "Hm"},
        {"type": "reasoning-delta", "id": "1", "delta": "m."},
        {"type": "reasoning-end", "id": "1"},
        {"type": "text-start", "id": "2"},
        {"type": "text-delta", "id": "2", "delta": "Hel"},
        {"type": "text-delta", "id": "2", "delta": "lo\n\u2028"},
        {"type": "text-end", "id": "2"},
        {"type": "finish-step"},
        {"type": "finish"},
        "[DONE]",
    ]


FINISH = {"finishReason": "stop", "usage": USAGE}
STEP_ENDS = ("e", FINISH | {"isContinued": False})


@pytest.mark.parametrize(
    "generation, begin, reasoning, finish",
    [
        ("3.0", [], [], []),
        ("3.4", [], [], [STEP_ENDS, ("d", FINISH)]),
        ("4.1", [("f", {"messageId": MESSAGE})], [], [STEP_ENDS, ("d", FINISH)]),
        ("4.2", [("f", {"messageId": MESSAGE})], [("g", "Hm"), ("g", "m.")], [STEP_ENDS, ("d", FINISH)]),
    ],
)
def test_a_data_stream_has_the_codes_that_its_reader_knows(
    generation: str, begin: list[Any], reasoning: list[Any], finish: list[Any]
) -> None:
    body = written(Choice("data", CODES[generation]), *WHOLE)
    assert codes(body) == [*begin, *reasoning, ("0", "Hel"), ("0", "lo\n\u2028"), *finish]


@pytest.mark.parametrize(
    "reason, told",
    [("stop", "stop"), ("length", "length"), ("content_filter", "content-filter"), ("tool_limit", "other")],
)
def test_finish_reasons(reason: str, told: str) -> None:
    assert codes(written(Choice("data"), ended("completed", reason)))[-1][1]["finishReason"] == told


def test_a_stopped_answer_ends_as_such() -> None:
    steps = started(), text("Hel"), ended("stopped")
    assert [chunk if isinstance(chunk, str) else chunk["type"] for chunk in chunks(written(Choice("ui"), *steps))] == [
        "start", "start-step", "text-start", "text-delta", "text-end", "finish-step", "abort", "[DONE]",
    ]  # fmt: skip
    assert codes(written(Choice("data"), *steps))[-1] == ("d", {"finishReason": "unknown", "usage": USAGE})


def test_a_failure_is_told_after_what_is_open_was_closed() -> None:
    steps = started(), text("Hel"), ended("failed", message="It broke.")
    assert chunks(written(Choice("ui"), *steps))[4:] == [
        {"type": "text-end", "id": "1"},
        {"type": "error", "errorText": "It broke."},
        {"type": "finish-step"},
        {"type": "finish"},
        "[DONE]",
    ]
    assert codes(written(Choice("data"), *steps))[2:] == [
        ("3", "It broke."),
        ("e", {"finishReason": "error", "usage": USAGE, "isContinued": False}),
        ("d", {"finishReason": "error", "usage": USAGE}),
    ]
    assert codes(written(Choice("data", Codes.COMMON), *steps)) == [("0", "Hel"), ("3", "It broke.")]
    assert written(Choice("text"), *steps) == b"Hel"


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_who_cannot_read_an_error_is_cut_off(choice: Choice) -> None:
    for steps, failed in ((WHOLE, False), ([*WHOLE[:-1], ended("failed", message="x")], True)):
        encoder = choice.encoder(MESSAGE)
        encoder.encode(events(*steps))
        assert (encoder.ended, encoder.failed) == (True, failed)
    broken = choice.encoder(MESSAGE)
    told = broken.broken()
    assert broken.failed
    assert broken.cuts == (choice == Choice("text") or choice == Choice("data", Codes.COMMON))
    assert broken.cuts or BROKEN.encode() in told


def test_a_new_attempt_begins_anew_and_says_so() -> None:
    steps = started(), text("Hel"), restarted(), started(2), text("Good"), ended("completed", "stop")
    assert chunks(written(Choice("ui"), *steps))[2:-3] == [
        {"type": "text-start", "id": "1"},
        {"type": "text-delta", "id": "1", "delta": "Hel"},
        {"type": "text-end", "id": "1"},
        {"type": "data-restarted", "data": {}},
        {"type": "finish-step"},
        {"type": "start-step"},
        {"type": "text-start", "id": "2"},
        {"type": "text-delta", "id": "2", "delta": "Good"},
        {"type": "text-end", "id": "2"},
    ]
    assert codes(written(Choice("data"), *steps))[1:-2] == [
        ("0", "Hel"),
        ("e", {"finishReason": "unknown", "isContinued": False}),
        ("f", {"messageId": MESSAGE}),
        ("0", "\n\n"),
        ("0", "Good"),
    ]
    assert codes(written(Choice("data", Codes.COMMON), *steps)) == [("0", "Hel"), ("0", "\n\n"), ("0", "Good")]
    assert written(Choice("text"), *steps) == b"Hel\n\nGood"


def test_a_new_attempt_before_the_first_word_is_not_told() -> None:
    assert written(Choice("ui"), started(), restarted(), *WHOLE) == written(Choice("ui"), *WHOLE)


def snapshot(seq: int, attempt: int, *parts: tuple[str, str]) -> Snapshot:
    return Snapshot(
        run="r", seq=seq, message=MESSAGE, status="running", attempt=attempt, text="",
        parts=[{"type": kind, "text": words} for kind, words in parts],
    )  # fmt: skip


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_from_any_snapshot_the_whole_is_told(choice: Choice) -> None:
    """Replayed at any place, or trimmed ahead of its reader: the words and the order of the parts are the same."""
    log = events(*WHOLE)
    states = {1: (), 2: (("reasoning", "Hm"),), 3: (("reasoning", "Hmm."),)}
    states |= {4: (*states[3], ("text", "Hel")), 5: (*states[3], ("text", "Hello\n\u2028"))}
    expected = content(choice, [log])
    for at, state in states.items():
        assert content(choice, [snapshot(at, 1, *state), log[at:]]) == expected
        for before in range(1, at):
            assert content(choice, [log[:before], snapshot(at, 1, *state), log[at:]]) == expected


def content(choice: Choice, batches: Sequence[Snapshot | list[Event]]) -> list[Any]:
    """What a reader has in the end, whatever the sizes of the pieces."""
    encoder: Encoder = choice.encoder(MESSAGE)
    body = encoder.begin() + b"".join(encoder.encode(batch) for batch in batches)
    if choice.protocol == "text":
        return [body]
    if choice.protocol == "data":
        groups = itertools.groupby(codes(body), lambda line: line[0])
        told = [(code, [value for _, value in lines]) for code, lines in groups]
        return [(code, "".join(values) if code in "0g" else values) for code, values in told]
    joined: list[Any] = []
    for chunk in chunks(body):
        before = joined[-1] if joined else {}
        if (
            isinstance(chunk, dict)
            and "delta" in chunk
            and all(before.get(key) == chunk[key] for key in ("type", "id"))
        ):
            before["delta"] += chunk["delta"]
            continue
        joined.append(chunk)
    return joined


def test_a_snapshot_of_another_attempt_begins_anew() -> None:
    encoder = Choice("text").encoder(MESSAGE)
    told = encoder.encode(events(started(), text("Hel"))) + encoder.encode(snapshot(9, 2, ("text", "Good")))
    assert told == b"Hel\n\nGood"


def test_merged_batches_say_the_same() -> None:
    for choice in CHOICES:
        assert content(choice, [events(*WHOLE)]) == content(choice, [[event] for event in events(*WHOLE)])


def test_what_comes_of_a_newer_version_is_passed_over() -> None:
    for choice in CHOICES:
        assert choice.encoder(MESSAGE).encode([Event(1, "tool.started", '{"part":0,"call":"c","name":"n"}')]) == b""
