import asyncio

from tests.servers import ServerProcess
from tests.stored import LOG_ID, Stored, key
from tests.transports.people import People
from tests.upstream import Scenario, expected_text
from tests.wsclient import Client, RunView, Who

TOP = 2**31 - 1


async def finished(client: Client, seed: str, chunks: int = 40) -> str:
    run: str = (await client.prompt(Scenario(seed=seed, chunks=chunks).prompt))["run"]
    await client.ended(run)
    return run


async def test_following_after_every_seq_gives_exactly_the_rest(client: Client, stored: Stored) -> None:
    run = await finished(client, "every")
    top = client.runs[run].seq
    for after in range(top):
        view = RunView(run, after, stored.parts_at(run, after))
        assert (await client.follow(view))["type"] == "ok"
        await client.ended(run)
        assert view.seq == top
        assert view.text == expected_text("every", 40)


async def test_the_reply_comes_before_the_events(client: Client) -> None:
    run = await finished(client, "reply")
    client.runs[run] = RunView(run)
    await client.send("run.follow", id="f", run=run)
    assert (await client.read()) == {"type": "ok", "re": "f"}


async def test_following_an_ended_run_after_its_end_is_ok_and_silent(client: Client) -> None:
    run = await finished(client, "ended")
    assert (await client.ask("run.follow", run=run, after=client.runs[run].seq))["type"] == "ok"
    assert await client.quiet() == []


async def test_an_offset_beyond_the_top_is_told_the_top(client: Client) -> None:
    run = await finished(client, "beyond")
    top = client.runs[run].seq
    for after in (top + 1, TOP):
        error = await client.ask("run.follow", run=run, after=after)
        assert (error["type"], error["code"], error["top"]) == ("error", "bad_offset", top)
    wrong: tuple[object, ...] = (-1, TOP + 1, 2**63, 10**400, 1.5, "1", None, True)
    for bad in wrong:
        error = await client.ask("run.follow", run=run, after=bad)
        assert (error["type"], error["code"], error.get("field")) == ("error", "bad_frame", "after"), bad


async def test_following_again_moves_the_position_of_a_live_run(client: Client, stored: Stored) -> None:
    run = (await client.prompt(Scenario(seed="moves", chunks=120, rate=100).prompt))["run"]
    for _ in range(5):
        for _ in range(8):
            await client.until_type("text.delta", run=run)
        middle = client.runs[run].seq // 2
        await client.follow(RunView(run, middle, stored.parts_at(run, middle)))
    assert (await client.ended(run)).text == expected_text("moves", 120)


async def test_unfollow_stops_the_events_and_the_run_goes_on(client: Client, stored: Stored) -> None:
    run = (await client.prompt(Scenario(seed="leave", chunks=60, rate=100).prompt))["run"]
    await client.until_type("text.delta", run=run)
    assert (await client.ask("run.unfollow", run=run))["type"] == "ok"
    seen = client.runs[run].seq
    for _ in range(5):
        assert await client.quiet() == []
        await asyncio.sleep(0.02)
    await client.follow(client.runs[run])
    view = await client.ended(run)
    assert view.seq > seen
    assert view.text == expected_text("leave", 60) == stored.message_text(run)


async def test_a_second_socket_follows_live_from_any_place(server: ServerProcess, people: People) -> None:
    who = Who(cookie=people.alice.cookie, origin=server.origin)
    async with Client.connect(server.ws, **who) as writer, Client.connect(server.ws, **who) as reader:
        run = (await writer.prompt(Scenario(seed="both", chunks=150, rate=150).prompt))["run"]
        for _ in range(20):
            await writer.until_type("text.delta", run=run)
        own = writer.runs[run]
        copy = RunView(run, own.seq, own.parts)
        await reader.follow(copy)
        await asyncio.gather(writer.ended(run), reader.ended(run))
        assert writer.runs[run].text == copy.text == expected_text("both", 150)


async def test_a_run_whose_log_was_trimmed_begins_with_a_snapshot(client: Client, stored: Stored) -> None:
    run = await finished(client, "trimmed")
    top = client.runs[run].seq
    stored.change(f"DELETE FROM chat_runevent WHERE run_id = ({LOG_ID}) AND seq < ?", key(run), top)
    for after in (0, 1, top - 2):
        view = RunView(run)
        client.runs[run] = view
        await client.ask("run.follow", run=run, after=after)
        await client.ended(run)
        snapshot = view.frames[0]
        assert (snapshot["type"], snapshot["seq"], snapshot["status"]) == ("run.snapshot", top - 1, "completed")
        assert view.text == expected_text("trimmed", 40)
        assert [frame["type"] for frame in view.frames] == ["run.snapshot", "run.completed"]
