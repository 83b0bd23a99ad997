"""What is shown is what is stored; adjacent deltas may travel as one frame."""

import json

from hypothesis import given
from hypothesis import strategies as st

from chat.protocol.answer import Answer
from chat.protocol.events import (
    MERGED_CHARS,
    Event,
    PartDelta,
    RunRestarted,
    RunStarted,
    encode_data,
    frame,
    frames,
    merge,
)
from tests.protocol.strategies import logs


def delta(seq: int, text: str, part: int = 0, kind: str = "text.delta") -> Event:
    return Event(seq, kind, encode_data(PartDelta(part, text)))


def test_it_works() -> None:
    assert list(frames("r", [delta(2, "Hel"), delta(3, "lo")])) == [
        (3, '{"type":"text.delta","run":"r","from":2,"seq":3,"part":0,"text":"Hello"}')
    ]


def test_a_frame_holds_the_stored_bytes() -> None:
    event = Event(7, "text.delta", '{"part":0,  "text":"\\u00fc"}')
    assert frame("r", event) == '{"type":"text.delta","run":"r","seq":7,"part":0,  "text":"\\u00fc"}'
    assert list(frames("r", [event])) == [(7, frame("r", event))]


def test_a_single_delta_between_others_carries_no_from() -> None:
    started = Event(1, "run.started", encode_data(RunStarted("s", "m", "alpha", 1)))
    found = [json.loads(text) for _, text in frames("r", [started, delta(2, "a")])]
    assert [("from" in each, each["seq"]) for each in found] == [(False, 1), (False, 2)]


def test_parts_and_kinds_are_not_mixed() -> None:
    events = [
        delta(1, "a", 0, "reasoning.delta"),
        delta(2, "b", 0, "reasoning.delta"),
        delta(3, "c", 1),
        delta(4, "d", 2),
    ]
    assert [(span.first, span.seq, span.type) for span in merge(events)] == [
        (1, 2, "reasoning.delta"),
        (3, 3, "text.delta"),
        (4, 4, "text.delta"),
    ]


def test_deltas_are_never_merged_across_another_event() -> None:
    restarted = Event(3, "run.restarted", encode_data(RunRestarted(2, "worker_lost", [])))
    spans = list(merge([delta(1, "a"), delta(2, "b"), restarted, delta(4, "c"), delta(5, "d")]))
    assert [(span.first, span.seq) for span in spans] == [(1, 2), (3, 3), (4, 5)]


def test_a_merged_frame_ends_at_the_limit() -> None:
    events = [delta(seq, "x" * 6_000) for seq in range(1, 8)]
    spans = list(merge(events))
    assert [(span.first, span.seq) for span in spans] == [(1, 2), (3, 4), (5, 6), (7, 7)]
    assert all(len(json.loads(span.data)["text"]) <= MERGED_CHARS for span in spans)


def test_nothing_makes_no_frame() -> None:
    assert list(frames("r", [])) == []


@given(logs())
def test_frames_cover_every_seq_once_and_in_order(events: list[Event]) -> None:
    position = 0
    for last, text in frames("r", events):
        sent = json.loads(text)
        assert sent["seq"] == last
        assert sent.get("from", sent["seq"]) == position + 1
        assert sent.get("from", 0) != sent["seq"]
        position = last
    assert position == len(events)


@given(logs())
def test_merged_events_add_up_to_the_same_answer(events: list[Event]) -> None:
    merged = [Event(span.seq, span.type, span.data) for span in merge(events)]
    whole, again = Answer().apply(events), Answer().apply(merged)
    assert (again.parts, again.text, again.seq, again.attempt) == (whole.parts, whole.text, whole.seq, whole.attempt)


@given(st.text())
def test_any_text_survives_the_frame(text: str) -> None:
    assert json.loads(frame("r", delta(1, text)))["text"] == text
