"""The real hooks of ai 3.4, 4, 5.0.0 and 7 against the real servers, with the options that they have by default."""

import secrets
from typing import Any
from uuid import UUID

import pytest

from tests.servers import ServerProcess
from tests.stored import Stored, key
from tests.transports.aisdk.api import wait
from tests.transports.aisdk.hooks import Hook
from tests.transports.people import People
from tests.upstream import Scenario


def fresh(seed: str = "", **fields: Any) -> Scenario:
    """One that nobody else asks for, so that its run is found by its prompt."""
    return Scenario(seed=f"{seed}{secrets.token_hex(4)}", **fields)


def runs_of(stored: Stored, prompt: str) -> list[str]:
    """The runs that answer this prompt, the oldest first."""
    rows = stored.rows(
        "SELECT r.id FROM chat_run r JOIN chat_message a ON a.id = r.message_id JOIN chat_message p"
        " ON p.id = a.parent_id WHERE p.text = ? ORDER BY r.created",
        prompt,
    )
    return [row[0] for row in rows]


def session_of(stored: Stored, run: str) -> str:
    return str(stored.value("SELECT session_id FROM chat_run WHERE id = ?", run))


def roles(page: dict[str, Any]) -> list[str]:
    return [message["role"] for message in page["messages"]]


def test_it_works(hook: Hook, server: ServerProcess, people: People, stored: Stored) -> None:
    scenario = fresh(chunks=30, rate=150, reasoning=3)
    hook.open(server, people.alice.cookie)
    page = hook.ask(scenario.prompt)
    assert (page["status"], page["error"]) == ("ready", None)
    assert roles(page) == ["user", "assistant"]
    assert page["text"] == scenario.text
    growing = [text for text in page["texts"] if text]
    assert len(growing) > 5
    assert all(scenario.text.startswith(text) for text in growing)
    if hook.generation >= 4:
        assert page["messages"][1]["reasoning"] == scenario.reasoning_text
        (run,) = runs_of(stored, scenario.prompt)
        assert key(page["messages"][1]["id"]) == stored.run(run)["message_id"]


def test_a_second_turn_goes_on_in_the_chat_session(
    hook: Hook, server: ServerProcess, people: People, stored: Stored
) -> None:
    first, second, third = fresh("1"), fresh("2"), fresh("3")
    hook.open(server, people.alice.cookie)
    for scenario in (first, second):
        assert hook.ask(scenario.prompt)["text"] == scenario.text
    page = hook.ask(third.prompt)
    assert page["text"] == third.text
    assert roles(page) == ["user", "assistant"] * 3
    (run_1,), (run_2,), (run_3,) = (runs_of(stored, each.prompt) for each in (first, second, third))
    session = session_of(stored, run_1)
    assert session_of(stored, run_2) == session_of(stored, run_3) == session
    assert path_to(stored, stored.run(run_3)["message_id"]) == [
        first.prompt, first.text, second.prompt, second.text, third.prompt, third.text,
    ]  # fmt: skip


def path_to(stored: Stored, message: str) -> list[str]:
    texts: list[str] = []
    found: Any = message
    while found is not None:
        text, found = stored.rows("SELECT text, parent_id FROM chat_message WHERE id = ?", found)[0]
        texts.insert(0, text)
    return texts


def test_an_error_before_the_stream_is_shown_as_it_is(hook: Hook, server: ServerProcess, people: People) -> None:
    hook.open(server, people.alice.cookie)
    page = hook.ask("x" * 32_001)
    assert page["status"] == "error"
    assert page["error"] == "A prompt may hold at most 32,000 characters, this one has 32,001."
    assert page["requests"][-1]["status"] == 413
    scenario = fresh()
    page = hook.ask(scenario.prompt)  # 4 and later keep what was refused, and send it along
    assert (page["status"], page["text"]) == ("ready", scenario.text)


def test_an_error_within_the_stream_keeps_the_text(hook: Hook, server: ServerProcess, people: People) -> None:
    scenario = fresh(chunks=20, rate=100, error_after=10)
    hook.open(server, people.alice.cookie)
    page = hook.ask(scenario.prompt)
    assert page["status"] == "error"
    assert page["error"] == "The model server is not available. Try again in a moment."
    if hook.generation > 3:  # 3.4 takes the exchange off the screen
        assert page["text"] == scenario.text
    assert hook.ask(fresh().prompt)["status"] == "ready"


def test_stop_ends_the_run_after_the_grace_period_and_the_next_prompt_need_not_wait(
    hook: Hook, server: ServerProcess, people: People, stored: Stored
) -> None:
    slow, other = (fresh(chunks=4_000, rate=100) for _ in range(2))
    hook.open(server, people.alice.cookie)
    hook.send(slow.prompt)
    hook("wait", characters=20)
    page = hook("stop")
    assert (page["status"], page["error"]) == ("ready", None)
    assert slow.text.startswith(page["text"])
    hook.send(other.prompt)
    hook("wait", characters=20, count=4)
    (run,) = runs_of(stored, slow.prompt)
    assert stored.run(run)["status"] == "stopped"
    hook("stop")
    (run,) = runs_of(stored, other.prompt)
    assert session_of(stored, run) == session_of(stored, runs_of(stored, slow.prompt)[0])
    wait(lambda: stored.run(run)["status"] == "stopped")
    assert other.text.startswith(stored.message_text(run))


def test_regenerate_gives_another_answer_to_the_same_prompt(
    hook: Hook, server: ServerProcess, people: People, stored: Stored
) -> None:
    first, scenario = fresh("1"), fresh("2")
    hook.open(server, people.alice.cookie)
    hook.ask(first.prompt)
    hook.ask(scenario.prompt)
    hook("regenerate")
    page = hook.ended()
    assert roles(page) == ["user", "assistant"] * 2
    assert page["text"] == scenario.text
    one, two = runs_of(stored, scenario.prompt)
    parents = {stored.value("SELECT parent_id FROM chat_message WHERE id = ?", stored.run(run)["message_id"])
               for run in (one, two)}  # fmt: skip
    assert len(parents) == 1


def test_an_edit_is_a_branch_in_the_chat_session(
    hook: Hook, server: ServerProcess, people: People, stored: Stored
) -> None:
    first, second, edited = fresh("1"), fresh("2"), fresh("3")
    hook.open(server, people.alice.cookie)
    hook.ask(first.prompt)
    hook.ask(second.prompt)
    hook("edit", at=2, text=edited.prompt)
    page = hook.ended()
    assert roles(page) == ["user", "assistant"] * 2
    assert page["text"] == edited.text
    (run,), (before,) = runs_of(stored, edited.prompt), runs_of(stored, second.prompt)
    assert session_of(stored, run) == session_of(stored, before)
    assert path_to(stored, stored.run(run)["message_id"])[:3] == [first.prompt, first.text, edited.prompt]


@pytest.fixture(params=(4, 5, 7), ids=lambda generation: f"ai{generation}")
def resuming(request: pytest.FixtureRequest, hooks: dict[int, Hook]) -> Hook:
    return hooks[request.param]


def test_resume_shows_the_whole_answer_once_and_then_nothing_is_left(
    resuming: Hook, server: ServerProcess, people: People, stored: Stored
) -> None:
    scenario, chat = fresh(chunks=60, rate=60), secrets.token_hex(8)
    hook = resuming.open(server, people.alice.cookie, id=chat)
    hook.send(scenario.prompt)
    page = hook("wait", characters=20)
    said = page["messages"]
    hook("stop")
    # The page is loaded anew. What streams may be among its messages in 7: 4 and 5.0.0 write the whole behind it.
    messages = [given(hook, message) for message in (said if hook.generation == 7 else said[:1])]
    hook.open(server, people.alice.cookie, id=chat, messages=messages)
    hook("resume")
    page = hook.ended()
    assert (page["status"], page["error"]) == ("ready", None)
    assert page["text"] == scenario.text
    assert [message["id"] for message in page["messages"]][-1] == said[-1]["id"]
    assert roles(page) == ["user", "assistant"]
    (run,) = runs_of(stored, scenario.prompt)
    assert stored.run(run)["status"] == "completed"
    assert UUID(stored.run(run)["message_id"]) == UUID(said[-1]["id"])
    page = hook("resume")
    assert page["error"] is None
    assert page["requests"][-1]["status"] == (200 if hook.generation == 4 else 204)


def given(hook: Hook, message: dict[str, Any]) -> dict[str, Any]:
    parts = [{"type": "text", "text": message["text"]}]
    kept = {"id": message["id"], "role": message["role"], "parts": parts}
    return kept if hook.generation > 4 else kept | {"content": message["text"]}
