"""Server-Sent Events: what is sent, how it is resumed, and that nobody pays for an answer twice."""

import asyncio
import json
import secrets
from uuid import uuid4

import pytest

from tests.servers import ServerProcess
from tests.sseclient import Answer, StreamView
from tests.stored import LOG_ID, Stored, key
from tests.tokens import give_token
from tests.transports.people import People
from tests.transports.streams import PAGE, STORY, quoted, told
from tests.upstream import Scenario
from tests.waiting import until
from tests.wsclient import Client, RunView


@pytest.fixture
def alice(server: ServerProcess, people: People, stored: Stored) -> dict[str, str]:
    """The headers of a program of Alice's."""
    return give_token(stored, "alice").headers


async def test_it_works(server: ServerProcess, alice: dict[str, str], stored: Stored) -> None:
    async with Answer.ask(server.port, "POST", "/api/stream", {"prompt": STORY.prompt, "id": "x"}, **alice) as answer:
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"] == "no-cache, no-store, no-transform"
        assert answer.headers["x-accel-buffering"] == "no"
        accepted = await answer.accepted()
        assert answer.retry is not None
        assert accepted["re"]
        view = await answer.follow(StreamView(accepted["run"]))
    assert view.ended is not None
    assert view.ended["type"] == "run.completed"
    assert (view.text, view.reasoning) == (STORY.text, STORY.reasoning_text)
    assert view.text == stored.message_text(view.run)


async def test_text_is_unnamed_and_all_else_is_the_frame_of_the_websocket(
    server: ServerProcess, people: People, alice: dict[str, str], stored: Stored
) -> None:
    run, sent = await told(server, alice)
    async with Client.connect(server.ws, cookie=people.alice.cookie, origin=server.origin) as client:
        await client.follow(RunView(run))
        frames = (await client.ended(run)).frames
    named = {event.seq: event.frame for event in sent if event.name not in {"", "run.accepted"}}
    for frame in frames:
        if frame["type"] not in {"text.delta", "reasoning.delta"}:
            assert named[frame["seq"]] == frame
    for event in sent:
        if event.name == "":
            assert event.raw == f"id: {run}:{event.seq}\ndata: {event.data}\n\n"
            assert event.data == f'{{"content": {json.dumps(event.frame["content"], ensure_ascii=False)}}}'


async def test_coming_back_at_any_place_gives_the_rest_and_starts_nothing(
    server: ServerProcess, alice: dict[str, str], stored: Stored
) -> None:
    run, sent = await told(server, alice)
    before = stored.counts()
    ways = [("GET", "/api/stream"), ("POST", "/api/stream"), ("GET", f"/api/runs/{run}/events")]
    for number, event in enumerate(sent[:-1]):
        view = StreamView(run)
        for earlier in sent[: number + 1]:
            view.hear(earlier)
        method, path = ways[number % len(ways)]
        # The URL and body that EventSource repeats: what they ask for was begun already.
        body = {"prompt": STORY.prompt} if method == "POST" else None
        path += f"?prompt=again&after={event.seq // 2}" if method == "GET" else ""
        async with Answer.ask(server.port, method, path, body, **alice, Last_Event_ID=event.id) as answer:
            await answer.follow(view)
        assert view.ended is not None
        assert (view.text, view.reasoning) == (STORY.text, STORY.reasoning_text)
    view = StreamView(run)
    async with Answer.ask(server.port, "GET", f"/api/runs/{run}/events?after=0", **alice) as answer:
        assert (await answer.follow(view)).text == STORY.text
    assert stored.counts() == before


async def test_after_the_end_there_is_nothing_and_eventsource_stops(
    server: ServerProcess, alice: dict[str, str], stored: Stored
) -> None:
    run, sent = await told(server, alice)
    before = stored.counts()
    end = {"Last_Event_ID": sent[-1].id}
    for path, headers in (
        ("/api/stream?prompt=again", end),
        (f"/api/runs/{run}/events", end),
        (f"/api/runs/{run}/events?after={sent[-1].seq}", {}),
    ):
        async with Answer.ask(server.port, "GET", path, **alice, **headers) as answer:
            assert (answer.status, await answer.text()) == (204, "")
            assert answer.headers["cache-control"] == "no-store"
    assert stored.counts() == before


async def test_the_run_goes_on_when_its_reader_is_gone(
    server: ServerProcess, alice: dict[str, str], stored: Stored
) -> None:
    story = Scenario(seed="gone", chunks=40, rate=100)
    async with Answer.ask(server.port, "POST", "/api/stream", {"prompt": story.prompt}, **alice) as answer:
        run = (await answer.accepted())["run"]
        view = await answer.follow(StreamView(run), until=5)
    await until(lambda: stored.run(run)["status"] == "completed", 10)
    assert stored.message_text(run) == story.text
    async with Answer.ask(server.port, "GET", "/api/stream", **alice, Last_Event_ID=view.last_id) as answer:
        assert (await answer.follow(view)).text == story.text


async def test_stop_ends_the_stream(server: ServerProcess, alice: dict[str, str]) -> None:
    story = Scenario(seed="stop", chunks=5000, rate=50)
    async with Answer.ask(server.port, "POST", "/api/stream", {"prompt": story.prompt}, **alice) as answer:
        run = (await answer.accepted())["run"]
        view = await answer.follow(StreamView(run), until=4)
        for _ in range(2):  # once more does nothing
            async with Answer.ask(server.port, "POST", f"/api/runs/{run}/stop", **alice) as stopped:
                assert (stopped.status, await stopped.json()) == (200, {"type": "ok"})
        async with asyncio.timeout(1):
            await answer.follow(view)
    assert view.ended is not None
    assert view.ended["type"] == "run.stopped"
    assert story.text.startswith(view.text)


async def test_a_trimmed_log_gives_the_text_to_every_handler(
    server: ServerProcess, alice: dict[str, str], stored: Stored
) -> None:
    run, sent = await told(server, alice)
    top = sent[-1].seq
    stored.change(f"DELETE FROM chat_runevent WHERE run_id = ({LOG_ID}) AND seq < ?", key(run), top)
    for after in (0, 2, top - 2):
        async with Answer.ask(server.port, "GET", f"/api/runs/{run}/events?after={after}", **alice) as answer:
            events = [event async for event in answer.events()]
        # Who holds nothing and knows only onmessage; who replaces what it has by the snapshot has it once as well.
        assert [event.name for event in events] == ([""] if after == 0 else []) + ["run.snapshot", "run.completed"]
        assert "".join(event.frame["content"] for event in events if not event.name) in {"", STORY.text}
        assert {event.seq for event in events[:-1]} == {top - 1}
        view = StreamView(run)
        for event in events:
            view.hear(event)
        assert (view.text, view.reasoning) == (STORY.text, STORY.reasoning_text)


# Once ----------------------------------------------------------------------------------------------------------------


async def test_one_id_is_one_run_over_every_transport(
    server: ServerProcess, people: People, alice: dict[str, str], stored: Stored
) -> None:
    id_ = str(uuid4())
    async with Client.connect(server.ws, headers=alice) as client:
        run = (await client.prompt(STORY.prompt, id=id_))["run"]
    for method in ("GET", "POST"):
        body = {"prompt": STORY.prompt, "id": id_} if method == "POST" else None
        query = "" if body else f"?{quoted(prompt=STORY.prompt, id=id_)}"
        async with Answer.ask(server.port, method, f"/api/stream{query}", body, **alice) as answer:
            accepted = await answer.accepted()
            assert (accepted["run"], accepted["repeat"], accepted["re"]) == (run, True, id_)
            assert (await answer.follow(StreamView(run))).text == STORY.text
    async with Answer.ask(server.port, "POST", "/api/text", {"prompt": STORY.prompt, "id": id_}, **alice) as answer:
        assert (answer.headers["x-run"], await answer.text()) == (run, STORY.text)
    async with Answer.ask(server.port, "POST", "/api/stream", {"prompt": "Another", "id": id_}, **alice) as answer:
        assert (answer.status, (await answer.error())["code"]) == (409, "conflict")


async def test_eventsource_that_never_read_an_id_gets_the_same_run(
    server: ServerProcess, people: People, alice: dict[str, str], stored: Stored
) -> None:
    """It knows no more than its URL, and a page that was told of no ids gave it none."""
    story = Scenario(seed=secrets.token_hex(4), chunks=30, rate=60)
    page = {"Cookie": people.alice.cookie, **PAGE}
    path = f"/api/stream?{quoted(prompt=story.prompt)}"
    async with Answer.ask(server.port, "GET", path, **page) as lost:
        run = (await lost.accepted())["run"]
    async with Answer.ask(server.port, "GET", path, **page) as answer:
        accepted = await answer.accepted()
        assert (accepted["run"], accepted["repeat"]) == (run, True)
        # A program that asks twice, and somebody else, want answers of their own.
        for others in (alice, {"Cookie": people.bob.cookie, **PAGE}):
            async with Answer.ask(server.port, "GET", path, **others) as other:
                assert (await other.accepted())["run"] != run
        assert (await answer.follow(StreamView(run))).text == story.text
    async with Answer.ask(server.port, "GET", path, **page) as anew:
        assert (await anew.accepted())["run"] != run
