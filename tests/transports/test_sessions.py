import asyncio

from tests.servers import ServerProcess
from tests.transports.people import People
from tests.upstream import Scenario, expected_text
from tests.visitors import Visitor
from tests.wsclient import Client, RunView, Who


def who(server: ServerProcess, visitor: Visitor) -> Who:
    return Who(cookie=visitor.cookie, origin=server.origin)


def slow(seed: str, chunks: int = 80) -> str:
    return Scenario(seed=seed, chunks=chunks, rate=80).prompt


async def test_opening_a_session_gives_its_state_and_then_its_live_events(
    server: ServerProcess, people: People
) -> None:
    async with (
        Client.connect(server.ws, **who(server, people.alice)) as writer,
        Client.connect(server.ws, **who(server, people.alice)) as reader,
    ):
        accepted = await writer.prompt(slow("live"))
        for _ in range(10):
            await writer.until_type("text.delta")
        state = await reader.ask("session.open", session=accepted["session"])
        assert state["type"] == "session.state"
        assert [running["run"] for running in state["runs"]] == [accepted["run"]]
        assert state["runs"][0]["status"] == "running"
        streaming = state["messages"][-1]
        assert streaming["status"] == "streaming"
        assert streaming["text"] == state["runs"][0]["text"] != ""
        assert (await reader.ended(accepted["run"])).text == expected_text("live", 80)
        await writer.ended(accepted["run"])


async def test_a_socket_sees_a_run_that_is_started_elsewhere(server: ServerProcess, people: People) -> None:
    async with (
        Client.connect(server.ws, **who(server, people.alice)) as one,
        Client.connect(server.ws, **who(server, people.alice)) as two,
    ):
        first = await one.prompt(Scenario(seed="s1", chunks=3).prompt)
        await one.ended(first["run"])
        await two.ask("session.open", session=first["session"])
        second = await one.prompt(Scenario(seed="s2", chunks=30).prompt, session=first["session"])
        assert (await two.ended(second["run"])).text == expected_text("s2", 30)
        again = await two.ask("message.regenerate", message=second["message"])
        assert (await one.ended(again["run"])).text == expected_text("s2", 30)
        types = [frame["type"] for frame in two.frames if frame.get("session") == first["session"]]
        assert "session.changed" in types


async def test_closing_a_session_stops_its_events_and_keeps_those_asked_for(
    server: ServerProcess, people: People
) -> None:
    async with (
        Client.connect(server.ws, **who(server, people.alice)) as writer,
        Client.connect(server.ws, **who(server, people.alice)) as reader,
    ):
        accepted = await writer.prompt(slow("closing", 120))
        beside = await writer.prompt(slow("beside", 120), session=accepted["session"], parent=None)
        await reader.ask("session.open", session=accepted["session"])
        await reader.follow(reader.runs[accepted["run"]])
        assert (await reader.ask("session.close", session=accepted["session"]))["type"] == "ok"
        left = reader.runs[beside["run"]].seq
        assert (await reader.ended(accepted["run"])).text == expected_text("closing", 120)
        assert reader.runs[beside["run"]].seq == left
        await writer.ended(beside["run"])
        third = await writer.prompt(Scenario(seed="t", chunks=2).prompt, session=accepted["session"])
        await writer.ended(third["run"])
        await reader.quiet()
        assert third["run"] not in reader.runs


async def test_opening_again_keeps_what_run_follow_asked_for(server: ServerProcess, people: People) -> None:
    async with (
        Client.connect(server.ws, **who(server, people.bob)) as writer,
        Client.connect(server.ws, **who(server, people.bob)) as reader,
    ):
        accepted = await writer.prompt(slow("kept"))
        await reader.follow(RunView(accepted["run"]))
        await reader.ask("session.open", session=accepted["session"])
        await reader.ask("session.close", session=accepted["session"])
        assert (await reader.ended(accepted["run"])).text == expected_text("kept", 80)
        await writer.ended(accepted["run"])


async def test_prompt_send_opens_the_session_on_its_socket(server: ServerProcess, people: People) -> None:
    async with (
        Client.connect(server.ws, **who(server, people.alice)) as one,
        Client.connect(server.ws, **who(server, people.alice)) as two,
    ):
        first = await one.prompt(Scenario(seed="o1", chunks=2).prompt)
        await one.ended(first["run"])
        second = await two.prompt(Scenario(seed="o2", chunks=2).prompt, session=first["session"])
        assert (await one.ended(second["run"])).text == expected_text("o2", 2)
        await two.ended(second["run"])


async def test_a_change_is_told_to_all_sockets_of_the_owner_and_to_nobody_else(
    server: ServerProcess, people: People
) -> None:
    async with (
        Client.connect(server.ws, **who(server, people.alice)) as one,
        Client.connect(server.ws, **who(server, people.alice)) as two,
        Client.connect(server.ws, **who(server, people.bob)) as bob,
        Client.connect(server.ws) as guest,
    ):
        first = await one.prompt(Scenario(seed="b1", chunks=2).prompt)
        await one.ended(first["run"])
        second = await one.ask("message.regenerate", message=first["message"])
        await one.ended(second["run"])
        await asyncio.gather(one.quiet(), two.quiet())
        assert (await one.ask("branch.select", session=first["session"], message=first["message"]))["type"] == "ok"
        for client in (one, two):
            if not any(frame.get("active") == first["message"] for frame in client.frames[-2:]):
                await client.until_type("session.changed", session=first["session"], active=first["message"])
        state = await two.ask("session.open", session=first["session"])
        assert state["session"]["active"] == first["message"]
        assert state["messages"][-1]["id"] == first["message"]
        for stranger in (bob, guest):
            assert await stranger.quiet() == []


async def test_selecting_a_message_goes_to_the_leaf_below_it(client: Client) -> None:
    first = await client.prompt(Scenario(seed="l1", chunks=1).prompt)
    await client.ended(first["run"])
    second = await client.prompt(Scenario(seed="l2", chunks=1).prompt, session=first["session"])
    await client.ended(second["run"])
    other = await client.prompt(Scenario(seed="l3", chunks=1).prompt, session=first["session"], parent=None)
    await client.ended(other["run"])
    await client.ask("branch.select", session=first["session"], message=first["user_message"])
    state = await client.ask("session.open", session=first["session"])
    assert state["session"]["active"] == second["message"]


async def test_a_long_branch_comes_in_pages(client: Client) -> None:
    sent = []
    session = None
    for number in range(30):
        more: dict[str, str] = {"session": session} if session else {}
        accepted = await client.prompt(f'{{"seed":{number},"chunks":1}}', **more)
        await client.ended(accepted["run"])
        session = accepted["session"]
        sent += [accepted["user_message"], accepted["message"]]
    newest = await client.ask("session.open", session=session)
    assert newest["more"]
    older = await client.ask("session.open", session=session, before=newest["more"])
    assert older["more"] is None
    assert [message["id"] for message in older["messages"] + newest["messages"]] == sent


async def test_a_guest_with_a_cookie_keeps_its_sessions_and_one_without_does_not(
    server: ServerProcess, people: People
) -> None:
    async with Client.connect(server.ws, **who(server, people.charlie)) as client:
        kept = await client.prompt(Scenario(seed="g", chunks=2).prompt)
        await client.ended(kept["run"])
    async with Client.connect(server.ws, **who(server, people.charlie)) as client:
        assert (await client.ask("session.open", session=kept["session"]))["type"] == "session.state"
    async with Client.connect(server.ws) as client:
        lost = await client.prompt(Scenario(seed="g", chunks=2).prompt)
        await client.ended(lost["run"])
        assert (await client.ask("session.open", session=lost["session"]))["type"] == "session.state"
    async with Client.connect(server.ws) as client:
        assert (await client.ask("session.open", session=lost["session"]))["code"] == "not_found"


async def test_the_models_title_is_told_after_the_first_answer(strict: ServerProcess) -> None:
    user = Visitor(strict.port).sign_up()
    async with (
        Client.connect(strict.ws, **who(strict, user)) as one,
        Client.connect(strict.ws, **who(strict, user)) as two,
    ):
        accepted = await one.prompt(Scenario(seed="titled", chunks=3).prompt)
        for client in (one, two):
            await client.until_type("session.changed", session=accepted["session"], title="Title of titled")


async def test_the_title_of_the_first_words_is_told(server: ServerProcess, people: People) -> None:
    async with (
        Client.connect(server.ws, **who(server, people.bob)) as one,
        Client.connect(server.ws, **who(server, people.bob)) as two,
    ):
        accepted = await one.prompt("Why is the sky blue?")
        changed = await two.until_type("session.changed", session=accepted["session"])
        assert changed["title"] == "Why is the sky blue?"
        await one.ended(accepted["run"])


async def test_a_chat_session_beyond_a_megabyte_can_be_opened(server: ServerProcess, people: People) -> None:
    async with Client.connect(server.ws, **who(server, people.alice)) as client:
        accepted = await client.prompt(Scenario(seed="huge", chunks=1, huge_chunk=1_500_000).prompt)
        await client.ended(accepted["run"])
        state = await client.ask("session.open", session=accepted["session"])
        assert state["type"] == "session.state"
        assert len(state["messages"][-1]["text"]) > 1_048_576
