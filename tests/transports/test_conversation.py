import asyncio
import json
import uuid
from urllib.request import urlopen

import pytest
from websockets.asyncio.client import connect

from tests.servers import ServerProcess
from tests.stored import Stored
from tests.transports.people import People
from tests.upstream import Scenario, expected_text
from tests.waiting import until
from tests.wsclient import TERMINAL, Client, Who


def slow(seed: int | str, chunks: int = 200) -> str:
    return Scenario(seed=seed, chunks=chunks, rate=50).prompt


def aborted(upstream: str) -> list[str]:
    """Seeds of the streams that we left before their end."""
    with urlopen(upstream.removesuffix("/v1") + "/_stats", timeout=5) as response:
        return [str(abort["seed"]) for abort in json.load(response)["aborts"]]


async def test_it_works_for_a_client_that_is_written_in_ten_seconds(server: ServerProcess) -> None:
    async with connect(server.ws, proxy=None) as socket:
        await socket.send('{"type":"prompt.send","text":"Hello"}')
        types: list[str] = []
        while not types or types[-1] != "run.completed":
            types.append(json.loads(await socket.recv())["type"])
    assert types[0] == "hello"
    assert types.index("run.accepted") < types.index("run.started") < types.index("text.delta")


async def test_the_answer_is_what_the_upstream_wrote_and_what_is_stored(client: Client, stored: Stored) -> None:
    accepted = await client.prompt(Scenario(seed="whole", chunks=300).prompt)
    view = await client.ended(accepted["run"])
    assert view.text == expected_text("whole", 300)
    assert view.text == stored.message_text(view.run) == stored.log_text(view.run)
    assert view.ended is not None
    assert view.ended["type"] == "run.completed"
    assert view.ended["finish_reason"] == "stop"
    assert view.ended["message"] == accepted["message"]
    assert view.ended["usage"]["output_tokens"] > 0
    assert view.ended["timing"]["total_ms"] >= view.ended["timing"]["first_token_ms"] >= 0


async def test_hello_says_who_and_what_and_how_much(client: Client, server: ServerProcess, people: People) -> None:
    hello = client.hello
    assert hello["protocol"] == 1
    assert hello["user"] == {"name": "Guest", "guest": True}
    assert [(model["id"], model["default"]) for model in hello["models"]] == [
        ("test-model", True),
        ("test-small", False),
    ]
    assert hello["limits"]["frame_bytes"] == 65_536
    assert hello["limits"]["prompt_chars"] == 32_000
    assert hello["limits"]["runs"] == 1000
    async with Client.connect(server.ws, cookie=people.alice.cookie, origin=server.origin) as alice:
        assert alice.hello["user"] == {"name": "alice", "guest": False}


async def test_replies_come_first_and_nothing_follows_the_end(client: Client) -> None:
    accepted = await client.prompt(Scenario(seed="order", chunks=30).prompt, id="mine")
    assert accepted["re"] == "mine"
    assert "repeat" not in accepted
    await client.ended(accepted["run"])
    await client.quiet()  # a Violation, should the run have more to say
    of_run = [frame["type"] for frame in client.frames if frame.get("run") == accepted["run"]]
    assert of_run[0] == "run.accepted"
    assert of_run[1] == "run.started"
    assert sum(type_ in TERMINAL for type_ in of_run) == 1


async def test_reasoning_is_a_part_of_its_own(client: Client, stored: Stored) -> None:
    scenario = Scenario(seed="thought", chunks=20, reasoning=10)
    view = await client.ended((await client.prompt(scenario.prompt))["run"])
    assert view.reasoning == scenario.reasoning_text
    assert view.text == scenario.text
    assert [part["type"] for part in view.parts] == ["reasoning", "text"]
    assert stored.parts_at(view.run, view.seq) == view.parts


async def test_a_failure_is_a_frame_and_keeps_the_partial_text(client: Client, stored: Stored) -> None:
    scenario = Scenario(seed="broken", chunks=50, eof_after=20)
    view = await client.ended((await client.prompt(scenario.prompt))["run"])
    assert view.ended is not None
    assert view.ended["type"] == "run.failed"
    assert view.ended["error"]["code"] == "upstream_cut"
    assert view.ended["error"]["retryable"] is True
    assert view.text == expected_text("broken", 20) == stored.message_text(view.run)


async def test_stop_ends_the_run_within_a_second_and_keeps_the_text(
    client: Client, stored: Stored, upstream: str, kind: str
) -> None:
    seed = f"stop on {kind}"
    run = (await client.prompt(slow(seed)))["run"]
    await client.until_type("text.delta", run=run)
    loop = asyncio.get_running_loop()
    asked = loop.time()
    assert (await client.ask("run.stop", run=run))["type"] == "ok"
    view = await client.ended(run)
    assert loop.time() - asked < 1
    assert view.ended is not None
    assert view.ended["type"] == "run.stopped"
    assert "finish_reason" not in view.ended
    assert view.text == stored.message_text(run)
    assert expected_text(seed, 200).startswith(view.text)
    await until(lambda: seed in aborted(upstream), 1)
    assert (await client.ask("run.stop", run=run))["type"] == "ok"
    assert await client.quiet() == []


async def test_stop_before_the_first_token(client: Client) -> None:
    run = (await client.prompt(Scenario(seed="early", first_token_delay=30).prompt))["run"]
    await client.ask("run.stop", run=run)
    view = await client.ended(run)
    assert view.ended is not None
    assert (view.ended["type"], view.text) == ("run.stopped", "")


async def test_a_second_prompt_goes_on_in_the_session_with_its_history(client: Client) -> None:
    first = await client.prompt(Scenario(seed="one", chunks=5).prompt)
    await client.ended(first["run"])
    second = await client.prompt(Scenario(seed="two", chunks=5).prompt, session=first["session"], model="test-small")
    await client.ended(second["run"])
    state = await client.ask("session.open", session=first["session"])
    chain = [(message["id"], message["parent"], message["role"], message["status"]) for message in state["messages"]]
    assert chain == [
        (first["user_message"], None, "user", "done"),
        (first["message"], first["user_message"], "assistant", "done"),
        (second["user_message"], first["message"], "user", "done"),
        (second["message"], second["user_message"], "assistant", "done"),
    ]
    texts = [message["text"] for message in state["messages"]]
    assert texts[1::2] == [expected_text("one", 5), expected_text("two", 5)]
    assert state["messages"][3]["model"] == "test-small"
    assert state["messages"][3]["usage"]["output_tokens"] > 0
    assert state["session"]["active"] == second["message"]
    assert state["runs"] == []
    assert state["more"] is None


async def test_an_edited_prompt_hangs_beside_the_first_one(client: Client) -> None:
    first = await client.prompt(Scenario(seed="a", chunks=3).prompt)
    await client.ended(first["run"])
    second = await client.prompt(Scenario(seed="b", chunks=3).prompt, session=first["session"])
    await client.ended(second["run"])
    root = await client.prompt(Scenario(seed="c", chunks=3).prompt, session=first["session"], parent=None)
    await client.ended(root["run"])
    inner = await client.prompt(Scenario(seed="d", chunks=3).prompt, session=first["session"], parent=first["message"])
    await client.ended(inner["run"])
    messages = (await client.ask("session.open", session=first["session"]))["messages"]
    assert [message["id"] for message in messages] == [
        first["user_message"],
        first["message"],
        inner["user_message"],
        inner["message"],
    ]
    assert messages[0]["siblings"] == [first["user_message"], root["user_message"]]
    assert messages[2]["siblings"] == [second["user_message"], inner["user_message"]]


async def test_a_regenerated_answer_is_a_sibling(client: Client) -> None:
    first = await client.prompt(Scenario(seed="again", chunks=4).prompt)
    await client.ended(first["run"])
    reply = await client.ask("message.regenerate", message=first["message"], model="test-small")
    assert reply["type"] == "run.accepted"
    assert reply["user_message"] == first["user_message"]
    assert reply["message"] != first["message"]
    view = await client.ended(reply["run"])
    assert view.text == expected_text("again", 4)
    messages = (await client.ask("session.open", session=first["session"]))["messages"]
    assert messages[-1]["id"] == reply["message"]
    assert messages[-1]["siblings"] == [first["message"], reply["message"]]
    error = await client.ask("message.regenerate", message=first["user_message"])
    assert (error["type"], error["code"], error["field"]) == ("error", "bad_frame", "message")


async def test_a_branch_that_is_being_written_is_busy_and_another_is_not(client: Client) -> None:
    first = await client.prompt(slow("busy"))
    error = await client.ask("prompt.send", text="more", session=first["session"])
    assert (error["type"], error["code"], error["retryable"]) == ("error", "busy", True)
    other = await client.prompt(Scenario(seed="beside", chunks=3).prompt, session=first["session"], parent=None)
    assert (await client.ended(other["run"])).text == expected_text("beside", 3)
    sibling = await client.ask("message.regenerate", message=first["message"])
    assert sibling["type"] == "run.accepted"
    for run in (first["run"], sibling["run"]):
        await client.ask("run.stop", run=run)
        await client.ended(run)


async def test_parent_needs_its_session(client: Client) -> None:
    first = await client.prompt(Scenario(seed="p", chunks=1).prompt)
    await client.ended(first["run"])
    error = await client.ask("prompt.send", text="x", parent=first["message"])
    assert (error["code"], error["field"]) == ("bad_frame", "parent")
    other = await client.prompt(Scenario(seed="q", chunks=1).prompt)
    await client.ended(other["run"])
    error = await client.ask("prompt.send", text="x", session=other["session"], parent=first["message"])
    assert error["code"] == "not_found"


async def test_an_unknown_model_is_refused_and_nothing_is_started(client: Client, stored: Stored) -> None:
    before = stored.counts()
    error = await client.ask("prompt.send", text="x", model="no-such-model")
    assert (error["type"], error["code"]) == ("error", "unknown_model")
    assert "test-model" in error["message"]
    assert stored.counts() == before


@pytest.mark.parametrize("finished", [True, False])
async def test_the_same_id_and_body_on_a_new_socket_is_the_same_run(
    server: ServerProcess, people: People, stored: Stored, finished: bool
) -> None:
    who = Who(cookie=people.alice.cookie, origin=server.origin)
    text, key = (slow(f"same{finished}", 5 if finished else 60), str(uuid.uuid4()))
    async with Client.connect(server.ws, **who) as first:
        accepted = await first.prompt(text, id=key)
        if finished:
            await first.ended(accepted["run"])
    before = stored.counts()
    async with Client.connect(server.ws, **who) as second:
        again = await second.prompt(text, id=key)
        assert again == {**accepted, "repeat": True}
        view = await second.ended(again["run"])  # from seq 1 or a snapshot, or it is a Violation
        assert view.text == expected_text(f"same{finished}", 5 if finished else 60)
        conflict = await second.ask("prompt.send", text=text + " ", id=key)
        assert (conflict["type"], conflict["code"], conflict["retryable"]) == ("error", "conflict", False)
        shared = await second.ask("message.regenerate", message=accepted["message"], id=key)
        assert shared["code"] == "conflict"
    after = stored.counts()
    assert {table: after[table] for table in ("chat_message", "chat_run", "chat_chatsession")} == {
        table: before[table] for table in ("chat_message", "chat_run", "chat_chatsession")
    }


async def test_ten_sends_at_once_with_one_id_are_one_run(server: ServerProcess, people: People) -> None:
    who = Who(cookie=people.bob.cookie, origin=server.origin)
    key, text = str(uuid.uuid4()), Scenario(seed="ten", chunks=10).prompt

    async def send() -> tuple[str, bool]:
        async with Client.connect(server.ws, **who) as client:
            accepted = await client.prompt(text, id=key)
            assert (await client.ended(accepted["run"])).text == expected_text("ten", 10)
            return accepted["run"], accepted.get("repeat", False)

    sent = await asyncio.gather(*(send() for _ in range(10)))
    assert len({run for run, _ in sent}) == 1
    assert sum(not repeat for _, repeat in sent) == 1


async def test_the_same_id_of_two_users_is_two_runs(server: ServerProcess, people: People) -> None:
    runs = set()
    for visitor in (people.alice, people.bob):
        async with Client.connect(server.ws, cookie=visitor.cookie, origin=server.origin) as client:
            accepted = await client.prompt("Hello", id="one-for-all")
            await client.ended(accepted["run"])
            runs.add(accepted["run"])
    assert len(runs) == 2


async def test_unknown_fields_are_ignored(client: Client) -> None:
    assert (await client.ask("ping", future={"a": [1]}))["type"] == "pong"
    accepted = await client.prompt("Hello", colour="blue", options={"temperature": 1, "top_k": 3})
    assert (await client.ended(accepted["run"])).ended is not None


async def test_options_reach_the_upstream_only_when_in_range(client: Client) -> None:
    wrong: tuple[object, ...] = ({"temperature": 3}, {"max_output_tokens": 0}, {"temperature": "hot"}, [], 7)
    for options in wrong:
        error = await client.ask("prompt.send", text="x", options=options)
        assert (error["type"], error["code"]) == ("error", "bad_frame"), options
        assert error["field"].startswith("options")
