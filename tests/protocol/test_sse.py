"""SSE from events: what a parser makes of the bytes is what the events say."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.protocol import sse
from chat.protocol.errors import ChatError
from chat.protocol.events import Event, PartDelta, encode_data, frames
from chat.protocol.frames import RunAccepted, Snapshot

RUN = "01900000-0000-7000-8000-000000000013"
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    ["\n\n", "\r\n", "data: x\n\n", '","text":"', '{"part":0,"text":"x"}', "\u2028\u0085", ": x", "\0"]
)
DELTAS = st.tuples(st.sampled_from(["text.delta", "reasoning.delta"]), st.integers(0, 3), TEXTS)


def parsed(data: bytes) -> list[dict[str, str]]:
    assert data.endswith(b"\n\n")
    blocks = data.decode().split("\n\n")[:-1]
    return [dict(line.partition(": ")[::2] for line in block.split("\n")) for block in blocks]


def events_of(deltas: list[tuple[str, int, str]]) -> list[Event]:
    return [Event(seq, type_, encode_data(PartDelta(part, text))) for seq, (type_, part, text) in enumerate(deltas, 1)]


@given(st.lists(DELTAS, min_size=1, max_size=8))
def test_it_carries_the_frames_in_order(deltas: list[tuple[str, int, str]]) -> None:
    events = events_of(deltas)
    told = parsed(sse.of_events(RUN, events))
    for (seq, text), fields in zip(frames(RUN, events), told, strict=True):
        frame = json.loads(text)
        assert fields["id"] == f"{RUN}:{seq}"
        if frame["type"] == "text.delta":
            assert list(fields) == ["id", "data"]
            assert json.loads(fields["data"]) == {"content": frame["text"]}
        else:
            assert (fields["event"], fields["data"]) == (frame["type"], text)


@given(DELTAS)
def test_one_event_is_written_as_a_batch_of_it(delta: tuple[str, int, str]) -> None:
    (event,) = events_of([delta])
    assert sse.of_event(RUN, event) == sse.of_events(RUN, [event])


def test_text_is_exactly_this() -> None:
    event = Event(7, "text.delta", encode_data(PartDelta(1, 'Say "é"\n')))
    assert sse.of_event(RUN, event).decode() == f'id: {RUN}:7\ndata: {{"content": "Say \\"é\\"\\n"}}\n\n'


def snapshot(text: str) -> Snapshot:
    parts = [{"type": "text", "text": text}]
    return Snapshot(run=RUN, seq=9, message=RUN, status="completed", attempt=1, parts=parts, text=text)


@pytest.mark.parametrize(
    "after, text, names",
    [(0, "Hello", [None, "run.snapshot"]), (0, "", ["run.snapshot"]), (3, "Hello", ["run.snapshot"])],
)
def test_who_holds_nothing_is_told_a_snapshots_text_as_content(after: int, text: str, names: list[str | None]) -> None:
    told = parsed(sse.of_snapshot(snapshot(text), after))
    assert [fields.get("event") for fields in told] == names
    assert {fields["id"] for fields in told} == {f"{RUN}:9"}


def test_the_first_event_is_a_place_to_come_back_to() -> None:
    accepted = RunAccepted(session=RUN, user_message=RUN, message=RUN, run=RUN)
    (told,) = parsed(sse.of_accepted(accepted))
    assert sse.position(told["id"]) == (sse.position(f"{RUN}:5")[0], 0)


@pytest.mark.parametrize(
    "last_id",
    [
        *("", "x", RUN, f"{RUN}:", f"{RUN}:x", f"{RUN}:-1", f"{RUN}:1 ", f"{RUN}:1\n", f"{RUN}:٣"),
        *(f"{RUN}:2147483648", f"{RUN}:{'9' * 5000}", f"{RUN[:-1]}A:1", f"{RUN.replace('-', '')}:1"),
    ],
)
def test_an_id_that_is_none_of_ours_is_refused(last_id: str) -> None:
    with pytest.raises(ChatError) as refused:
        sse.position(last_id)
    assert (refused.value.code, refused.value.field) == ("bad_frame", "Last-Event-ID")
