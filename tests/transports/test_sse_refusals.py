"""Server-Sent Events: who may ask for what, and how the rest is refused before a stream begins."""

import asyncio
import secrets
from uuid import uuid4

import pytest

from tests.servers import ServerProcess
from tests.sseclient import Answer, StreamView
from tests.stored import Stored
from tests.tokens import Token, give_token, revoke
from tests.transports.people import People
from tests.transports.streams import PAGE, STORY, quoted, told
from tests.upstream import Scenario
from tests.visitors import Visitor
from tests.wsclient import Client


@pytest.fixture
def alice(server: ServerProcess, people: People, stored: Stored) -> dict[str, str]:
    """The headers of a program of Alice's."""
    return give_token(stored, "alice").headers


# Who may -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers, may",
    [
        ({"Sec_Fetch_Site": "same-origin"}, True),
        ({"Origin": "{origin}"}, True),
        ({"Referer": "{origin}/some/page?x=1"}, True),
        ({"Sec_Fetch_Site": "same-origin", "Sec_Fetch_Dest": "empty", "Accept": "text/event-stream"}, True),
        ({"Referer": "{origin}/", "Accept": "text/event-stream"}, True),
        # A picture or a link that the model wrote into its answer is of our page, too.
        ({"Sec_Fetch_Site": "same-origin", "Sec_Fetch_Dest": "image"}, False),
        ({"Sec_Fetch_Site": "same-origin", "Sec_Fetch_Dest": "document"}, False),
        ({"Referer": "{origin}/", "Accept": "image/avif,image/webp,image/*,*/*;q=0.8"}, False),
        ({"Referer": "{origin}/", "Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}, False),
        ({"Sec_Fetch_Site": "same-site", "Origin": "{origin}"}, False),
        ({"Sec_Fetch_Site": "cross-site", "Referer": "{origin}/"}, False),
        ({"Sec_Fetch_Site": "none"}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Referer": "{origin}.evil.example/"}, False),
        ({}, False),
    ],
)
async def test_by_get_only_a_page_of_ours_starts_a_run(
    server: ServerProcess, people: People, stored: Stored, headers: dict[str, str], may: bool
) -> None:
    before = stored.counts()
    sent = {name: value.format(origin=server.origin) for name, value in headers.items()}
    path = f"/api/stream?{quoted(prompt=Scenario(seed=secrets.token_hex(4), chunks=2).prompt)}"
    for cookie in (people.alice.cookie, ""):
        who = {"Cookie": cookie} if cookie else {}
        async with Answer.ask(server.port, "GET", path, **sent, **who) as answer:
            if may:
                assert answer.headers["cache-control"] == "no-cache, no-store, no-transform"
                run = (await answer.accepted())["run"]
                assert (await answer.follow(StreamView(run))).ended
            else:
                assert (answer.status, (await answer.error())["code"]) == (403, "forbidden")
                assert "set-cookie" not in answer.headers
    assert (stored.counts() == before) != may


async def test_what_belongs_to_others_is_not_there(
    server: ServerProcess, people: People, alice: dict[str, str], stored: Stored
) -> None:
    run, sent = await told(server, alice)
    answers = set()
    for who in (give_token(stored, "bob").headers, {"Cookie": people.dora.cookie}, {}):
        for id_ in (run, str(uuid4()), "none", "0"):
            asked: list[tuple[str, str, dict[str, str]]] = [("GET", f"/api/runs/{id_}/events", {})]
            if len(id_) == len(run):
                last = {"Last_Event_ID": sent[3].id.replace(run, id_)}
                asked += [("GET", f"/api/runs/{id_}/events", last), ("GET", "/api/stream", {**last, **PAGE})]
            if "Cookie" not in who:
                asked += [("POST", f"/api/runs/{id_}/stop", {})]
            for method, path, more in asked:
                async with Answer.ask(server.port, method, path, **who, **more) as answer:
                    answers.add((answer.status, (await answer.error())["message"]))
    assert answers == {(404, "There is no such run, or it is not yours.")}


async def test_who_may_only_read_reads(server: ServerProcess, alice: dict[str, str], stored: Stored) -> None:
    run, _ = await told(server, alice)
    reader = give_token(stored, "alice", "read").headers
    before = stored.counts()
    for method, path in (
        ("GET", "/api/stream?prompt=Hello"),
        ("POST", "/api/stream"),
        ("POST", "/api/text"),
        ("POST", f"/api/runs/{run}/stop"),
    ):
        async with Answer.ask(server.port, method, path, {"prompt": "Hello"}, **reader) as answer:
            assert (answer.status, (await answer.error())["code"]) == (403, "forbidden")
    async with Answer.ask(server.port, "GET", f"/api/runs/{run}/events", **reader) as answer:
        assert (await answer.follow(StreamView(run))).text == STORY.text
    assert stored.counts() == before


async def test_a_cookie_needs_the_csrf_token(server: ServerProcess, people: People) -> None:
    who = {"Cookie": people.alice.cookie}
    async with Answer.ask(server.port, "POST", "/api/stream", {"prompt": "Hello"}, **who) as answer:
        assert (answer.status, (await answer.error())["code"]) == (403, "forbidden")
    who["X_CSRFToken"] = people.alice.cookies["csrftoken"]
    async with Answer.ask(server.port, "POST", "/api/stream", {"prompt": STORY.prompt}, **who) as answer:
        assert (await answer.follow(StreamView((await answer.accepted())["run"]))).text == STORY.text


# What is wrong -------------------------------------------------------------------------------------------------------

WRONG = [
    (b"{", 400, "bad_json", None),
    (b"[]", 400, "bad_frame", None),
    (b"", 400, "bad_json", None),
    ({}, 400, "bad_frame", "prompt"),
    ({"text": "Hello"}, 400, "bad_frame", "prompt"),
    ({"prompt": ["Hello"]}, 400, "bad_frame", "prompt"),
    ({"prompt": " \n"}, 400, "bad_frame", "prompt"),
    ({"prompt": "a\0b"}, 400, "bad_frame", "prompt"),
    ({"prompt": "x" * 32_001}, 413, "too_large", None),
    (b'{"prompt": "\\ud800"}', 400, "bad_json", None),
    (b'{"prompt": "\xff"}', 400, "bad_json", None),
    (b'{"prompt":"x","y":' + b"[" * 100_000, 400, "bad_json", None),
    (b'{"prompt": "' + b"x" * 3_000_000 + b'"}', 413, "too_large", None),
    ({"prompt": "Hello", "session": "x"}, 400, "bad_frame", "session"),
    ({"prompt": "Hello", "session": str(uuid4())}, 404, "not_found", None),
    ({"prompt": "Hello", "parent": str(uuid4())}, 400, "bad_frame", "parent"),
    ({"prompt": "Hello", "model": "none"}, 400, "unknown_model", "model"),
    ({"prompt": "Hello", "model": "a\0"}, 400, "bad_frame", "model"),
    ({"prompt": "Hello", "id": ""}, 400, "bad_frame", "id"),
    ({"prompt": "Hello", "id": "x" * 65}, 400, "bad_frame", "id"),
    ({"prompt": "Hello", "options": {"temperature": 9}}, 400, "bad_frame", "options.temperature"),
]


@pytest.mark.parametrize("path", ["/api/stream", "/api/text"])
async def test_a_wrong_prompt_is_told_before_the_stream(
    server: ServerProcess, alice: dict[str, str], stored: Stored, path: str
) -> None:
    before = stored.counts()
    for body, status, code, field in WRONG:
        async with Answer.ask(server.port, "POST", path, body, **alice) as answer:
            error = await answer.error()
            assert (answer.status, error["code"], error.get("field")) == (status, code, field), str(body)[:80]
            assert error["retryable"] is False
    assert stored.counts() == before


async def test_a_wrong_query_or_place_is_told(server: ServerProcess, alice: dict[str, str], stored: Stored) -> None:
    run, sent = await told(server, alice)
    top = sent[-1].seq
    before = stored.counts()
    for path, last_id, code, field in (
        ("/api/stream", "", "bad_frame", "prompt"),
        ("/api/stream?prompt=", "", "bad_frame", "prompt"),
        ("/api/stream?prompt=Hello&session=x", "", "bad_frame", "session"),
        ("/api/stream?prompt=a%00b", "", "bad_frame", "prompt"),
        (f"/api/stream?prompt=Hello{'&a=b' * 2000}", "", "bad_frame", None),
        ("/api/stream?prompt=Hello", "x", "bad_frame", "Last-Event-ID"),
        ("/api/stream?prompt=Hello", f"{run}:-1", "bad_frame", "Last-Event-ID"),
        ("/api/stream?prompt=Hello", f"{run}:2147483648", "bad_frame", "Last-Event-ID"),
        ("/api/stream?prompt=Hello", f"{run}:{top + 1}", "bad_offset", None),
        (f"/api/runs/{run}/events", f"{uuid4()}:1", "bad_frame", "Last-Event-ID"),
        (f"/api/runs/{run}/events?after={top + 1}", "", "bad_offset", None),
        *(
            (f"/api/runs/{run}/events?after={bad}", "", "bad_frame", "after")
            for bad in ("-1", "x", "1.5", "", "9" * 11)
        ),
    ):
        headers = {"Last_Event_ID": last_id} if last_id else {}
        async with Answer.ask(server.port, "GET", path, **alice, **headers) as answer:
            error = await answer.error()
            assert (answer.status, error["code"], error.get("field")) == (400, code, field), (path, last_id)
            assert (error.get("top") == top) == (code == "bad_offset")
    for method, path, allowed in (
        ("PUT", "/api/stream", "GET, POST"),
        ("HEAD", "/api/stream", "GET, POST"),
        ("GET", "/api/text", "POST"),
        ("GET", f"/api/runs/{run}/stop", "POST"),
        ("POST", f"/api/runs/{run}/events", "GET"),
    ):
        async with Answer.ask(server.port, method, path, **alice) as answer:
            assert (answer.status, answer.headers["allow"]) == (405, allowed)
    assert stored.counts() == before


async def test_a_busy_branch_is_told_with_its_status(server: ServerProcess, alice: dict[str, str]) -> None:
    slow = Scenario(seed="busy", chunks=5000, rate=50)
    async with Answer.ask(server.port, "POST", "/api/stream", {"prompt": slow.prompt}, **alice) as answer:
        accepted = await answer.accepted()
        again = {"prompt": "And?", "session": accepted["session"]}
        async with Answer.ask(server.port, "POST", "/api/stream", again, **alice) as refused:
            error = await refused.error()
            assert (refused.status, error["code"], error["retryable"]) == (409, "busy", True)
        async with Answer.ask(server.port, "POST", f"/api/runs/{accepted['run']}/stop", **alice) as stopped:
            assert stopped.status == 200
        assert (await answer.follow(StreamView(accepted["run"]))).ended


async def test_the_log_holds_no_prompt(server: ServerProcess, alice: dict[str, str]) -> None:
    canary = f"canary{secrets.token_hex(8)}"
    for headers in (alice, PAGE, {}, {**alice, "Last_Event_ID": canary}):
        async with Answer.ask(server.port, "GET", f"/api/stream?prompt={canary}", **headers) as answer:
            await answer.text()
    async with Answer.ask(server.port, "GET", f"/api/stream?prompt={canary}&session=x", **alice) as answer:
        assert answer.status == 400
    assert canary not in server.log_text()


# An ended sign-in, too many ------------------------------------------------------------------------------------------


async def test_a_stream_ends_with_its_sign_in(strict: ServerProcess) -> None:
    user, stored = Visitor(strict.port).sign_up(), Stored(strict.database)
    token = give_token(stored, user.name)
    story = Scenario(seed="out", chunks=5000, rate=50)
    async with Answer.ask(strict.port, "POST", "/api/stream", {"prompt": story.prompt}, **token.headers) as answer:
        run = (await answer.accepted())["run"]
        revoke(stored, token)
        async with asyncio.timeout(5):
            view = await answer.follow(StreamView(run))
    assert view.ended is None
    async with Answer.ask(strict.port, "GET", f"/api/runs/{run}/events", **token.headers) as answer:
        assert answer.status == 401


async def test_beyond_the_limit_eventsource_is_told_to_wait(strict: ServerProcess) -> None:
    user, stored = Visitor(strict.port).sign_up(), Stored(strict.database)
    token: Token = give_token(stored, user.name)
    body = {"prompt": Scenario(seed="many", chunks=5000, rate=50).prompt}
    async with (
        Answer.ask(strict.port, "POST", "/api/stream", body, **token.headers) as first,
        Client.connect(strict.ws, headers=token.headers),
    ):
        run = (await first.accepted())["run"]
        events = f"/api/runs/{run}/events"
        async with Answer.ask(strict.port, "GET", events, **token.headers) as third:
            await third.follow(StreamView(run), until=2)
            async with Answer.ask(strict.port, "GET", events, **token.headers) as refused:
                error = await refused.error()
                assert (refused.status, error["code"], error["retryable"]) == (429, "rate_limited", True)
                assert refused.headers["retry-after"] == "2"
            last = {"Last_Event_ID": f"{run}:2", "Accept": "text/event-stream"}
            async with Answer.ask(strict.port, "GET", events, **token.headers, **last) as patient:
                assert [event async for event in patient.events()] == []
                assert patient.retry is not None
                assert 2000 <= patient.retry <= 3000
        # Its place is free again once it has left.
        view = StreamView(run)
        async with asyncio.timeout(5):
            while not view.frames:
                async with Answer.ask(strict.port, "GET", events, **token.headers) as answer:
                    if answer.status == 200:
                        await answer.follow(view, until=2)
        async with Answer.ask(strict.port, "POST", f"/api/runs/{run}/stop", **token.headers) as stopped:
            assert stopped.status == 200
