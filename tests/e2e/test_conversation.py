"""The reducer, fed with frames in a real browser: no server takes part but to deliver the module."""

from typing import Any

import pytest

from tests.e2e.people import Person

pytestmark = pytest.mark.browser

SESSION = {"id": "s", "title": "T", "model": "m"}
PROMPT = {"id": "u", "role": "user", "siblings": ["u"], "status": "done", "parts": [{"type": "text", "text": "Hi"}]}
ANSWER = {"id": "a", "role": "assistant", "siblings": ["a"], "status": "streaming", "parts": []}
TEXT = "Hel😀lo wörld"


def opened(**snapshot: Any) -> list[dict[str, Any]]:
    run = {"run": "r", "seq": 0, "message": "a", "status": "running", "attempt": 1, "parts": [], "text": "", **snapshot}
    state = {"type": "session.state", "session": SESSION, "messages": [PROMPT, ANSWER], "more": None, "runs": [run]}
    return [{"type": "session.open", "session": "s"}, state]


def events(text: str = TEXT) -> list[dict[str, Any]]:
    start = {"type": "run.started", "run": "r", "seq": 1, "session": "s", "message": "a", "model": "m", "attempt": 1}
    deltas = [
        {"type": "text.delta", "run": "r", "seq": seq, "part": 0, "text": letter} for seq, letter in enumerate(text, 2)
    ]
    end = {"type": "run.completed", "run": "r", "seq": len(text) + 2, "message": "a", "text_length": len(text)}
    return [start, *deltas, end]


def folded(person: Person, frames: list[dict[str, Any]]) -> dict[str, Any]:
    state: dict[str, Any] = person.page.evaluate(
        """async (frames) => {
            const { EMPTY, reduce, activeRun, textOf } = await import("chat/conversation");
            const state = frames.reduce(reduce, EMPTY);
            return { ...state, active: activeRun(state), texts: state.messages.map(textOf) };
        }""",
        frames,
    )
    return state


def test_events_add_up_to_the_answer(alice: Person) -> None:
    state = folded(alice, opened() + events())
    assert state["texts"] == ["Hi", TEXT]
    assert state["messages"][1]["status"] == "done"
    assert (state["active"], state["todo"]) == (None, [])


def test_a_snapshot_at_any_point_and_the_events_after_it_are_the_whole(alice: Person) -> None:
    for cut in range(len(TEXT) + 1):
        snapshot = {"seq": cut + 1, "parts": [{"type": "text", "text": TEXT[:cut]}]}
        assert folded(alice, opened(**snapshot) + events())["texts"][1] == TEXT


def test_a_frame_seen_twice_counts_once(alice: Person) -> None:
    twice = [frame for frame in events() for _ in range(2)]
    assert folded(alice, opened() + twice)["texts"][1] == TEXT


def test_after_a_gap_nothing_is_added_and_the_rest_is_asked_for_once(alice: Person) -> None:
    all_events = events()
    state = folded(alice, opened() + all_events[:4] + all_events[5:9])
    assert state["texts"][1] == TEXT[:3]
    assert state["todo"] == [{"type": "run.follow", "run": "r", "after": 4}]
    assert folded(alice, opened() + all_events[:4] + all_events[5:9] + all_events[4:])["texts"][1] == TEXT


def test_a_merged_frame_counts_from_its_first_seq(alice: Person) -> None:
    merged = {"type": "text.delta", "run": "r", "from": 2, "seq": 6, "part": 0, "text": TEXT[:5]}
    assert folded(alice, [*opened(), events()[0], merged, *events()[6:]])["texts"][1] == TEXT
    too_far = {**merged, "from": 3}
    assert folded(alice, [*opened(), events()[0], too_far])["todo"][0]["after"] == 1


def test_a_restart_replaces_what_was_written(alice: Person) -> None:
    restart = {"type": "run.restarted", "run": "r", "seq": 4, "attempt": 2, "reason": "worker_lost", "parts": []}
    again = {"type": "text.delta", "run": "r", "seq": 5, "part": 0, "text": "Anew"}
    assert folded(alice, [*opened(), *events()[:3], restart, again])["texts"][1] == "Anew"


def test_nothing_follows_the_end(alice: Person) -> None:
    late = {"type": "text.delta", "run": "r", "seq": len(TEXT) + 2, "part": 0, "text": "late"}
    assert folded(alice, [*opened(), *events(), late])["texts"][1] == TEXT


def test_a_text_that_is_shorter_than_the_server_says_is_read_anew(alice: Person) -> None:
    frames = events()
    frames[-1]["text_length"] += 1
    assert folded(alice, opened() + frames)["todo"] == [{"type": "session.open", "session": "s"}]


def test_a_run_that_another_tab_began_makes_the_branch_be_read_anew(alice: Person) -> None:
    other = {"type": "run.started", "run": "x", "seq": 1, "session": "s", "message": "b", "model": "m", "attempt": 1}
    assert folded(alice, [*opened(), other])["todo"] == [{"type": "session.open", "session": "s"}]
    elsewhere = {**other, "session": "another"}
    assert folded(alice, [*opened(), elsewhere])["todo"] == []


def test_several_runs_do_not_mix(alice: Person) -> None:
    state = opened()[1]
    second = {**ANSWER, "id": "b"}
    run = {**state["runs"][0], "run": "x", "message": "b"}
    both = {**state, "messages": [PROMPT, ANSWER, second], "runs": [state["runs"][0], run]}
    delta = {"type": "text.delta", "run": "x", "seq": 1, "part": 0, "text": "other"}
    mixed = [frame for pair in zip(events()[:2], [delta, {**delta, "seq": 2}], strict=True) for frame in pair]
    assert folded(alice, [opened()[0], both, *mixed])["texts"] == ["Hi", TEXT[0], "otherother"]


def test_a_prompt_is_shown_at_once_and_becomes_the_stored_one(alice: Person) -> None:
    prompt = {"type": "prompt.send", "id": "op", "text": "Hello"}
    state = folded(alice, [prompt])
    assert [message["status"] for message in state["messages"]] == ["pending"]
    accepted = {"type": "run.accepted", "re": "op", "session": "s", "user_message": "u", "message": "a", "run": "r"}
    state = folded(alice, [prompt, accepted, *events()])
    assert [message["id"] for message in state["messages"]] == ["u", "a"]
    assert (state["session"], state["texts"], state["pending"]) == ("s", ["Hello", TEXT], {})
    repeated = folded(alice, [prompt, accepted, *events(), {**accepted, "repeat": True}, *events()])
    assert repeated["texts"] == ["Hello", TEXT]


def test_a_refused_prompt_disappears_and_its_problem_stays(alice: Person) -> None:
    prompt = {"type": "prompt.send", "id": "op", "text": "Hello"}
    error = {"type": "error", "re": "op", "code": "rate_limited", "message": "Wait", "retryable": True}
    state = folded(alice, [prompt, error])
    assert (state["messages"], state["pending"]) == ([], {})
    assert state["problem"]["operation"]["text"] == "Hello"


def test_unknown_frames_and_fields_change_nothing(alice: Person) -> None:
    future = {"type": "run.sparkle", "run": "r", "seq": 2, "glitter": True}
    state = folded(alice, [*opened(), events()[0], future, {"type": "weather"}, {"type": "toString"}])
    assert state["runs"]["r"]["seq"] == 2
    assert state["texts"] == ["Hi", ""]
