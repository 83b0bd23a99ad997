"""The law of resume: the answer as of a position and the events after it are the whole answer."""

from hypothesis import given
from hypothesis import strategies as st

from chat.protocol.answer import Answer, text_of
from chat.protocol.events import Event, PartDelta, RunRestarted, RunStarted, encode_data
from tests.protocol.strategies import logs


def text(seq: int, words: str, part: int = 0) -> Event:
    return Event(seq, "text.delta", encode_data(PartDelta(part, words)))


def reasoning(seq: int, words: str, part: int = 0) -> Event:
    return Event(seq, "reasoning.delta", encode_data(PartDelta(part, words)))


def test_it_works() -> None:
    started = Event(1, "run.started", encode_data(RunStarted("s", "m", "alpha", 3)))
    answer = Answer().apply([started, reasoning(2, "Hm"), text(3, "Hel", 1), text(4, "lo", 1)])
    assert answer.parts == [{"type": "reasoning", "text": "Hm"}, {"type": "text", "text": "Hello"}]
    assert (answer.text, answer.seq, answer.attempt) == ("Hello", 4, 3)


def test_a_restart_drops_what_was_written_before() -> None:
    restarted = Event(3, "run.restarted", encode_data(RunRestarted(2, "worker_lost", [])))
    answer = Answer().apply([text(1, "old "), text(2, "text"), restarted])
    assert (answer.parts, answer.attempt, answer.seq) == ([], 2, 3)
    assert answer.apply([text(4, "new")]).text == "new"


def test_a_restart_keeps_the_parts_it_names_and_goes_on_after_them() -> None:
    kept = [{"type": "text", "text": "done. "}]
    answer = Answer().apply([text(1, "old"), Event(2, "run.restarted", encode_data(RunRestarted(2, "x", kept)))])
    assert answer.apply([text(3, "more", part=1)]).text == "done. more"


def test_only_text_parts_make_the_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "reasoning", "text": "b"}, {"type": "text", "text": "c"}]
    assert text_of(parts) == "ac"


@given(logs(), st.data())
def test_any_prefix_and_the_rest_add_up_to_the_whole(events: list[Event], data: st.DataObject) -> None:
    whole = Answer().apply(events)
    answer = Answer()
    position = 0
    while position < len(events):
        cut = data.draw(st.integers(position + 1, len(events)))
        answer.apply(events[position:cut])
        assert answer.seq == cut
        position = cut
    assert (answer.parts, answer.text, answer.seq, answer.attempt) == (
        whole.parts,
        whole.text,
        whole.seq,
        whole.attempt,
    )
