"""What goes over the wire at /api/chat for every generation, on both servers."""

import json
import secrets
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.servers import ServerProcess
from tests.stored import Stored, key
from tests.tokens import give_token
from tests.transports.aisdk.api import Api, five, four, new_chat, old, run_of
from tests.transports.people import People
from tests.upstream import Scenario

FOREIGN = {"Origin": "http://evil.example"}


def fresh(**fields: Any) -> Scenario:
    return Scenario(seed=secrets.token_hex(6), **{"chunks": 4, **fields})


@pytest.fixture
def alice(server: ServerProcess, people: People) -> Api:
    return Api.of(server, people.alice.cookie)


# Detection and choice -----------------------------------------------------------------------------------------------


def test_the_shape_of_the_request_tells_the_protocol(alice: Api) -> None:
    scenario = fresh(reasoning=2)
    prompt = scenario.prompt
    for body, known in (
        (old(prompt), "0"),
        (old(prompt, id=new_chat()), "f0ed"),
        (four(new_chat(), prompt), "fg0ed"),
    ):
        with alice.post(body) as reply:
            reply.whole()
            assert "".join(dict.fromkeys(code for code, _ in reply.codes)) == known
            assert reply.answer == scenario.text
            assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
            assert reply.headers["X-Experimental-Stream-Data"] == "true"
            assert reply.headers["X-Vercel-AI-Data-Stream"] == "v1"
            assert "X-Experimental-Stream-Data" in reply.headers["Access-Control-Expose-Headers"]
            assert "Content-Encoding" not in reply.headers
    without_trigger = {name: value for name, value in five(new_chat(), prompt).items() if name != "trigger"}
    for body in (five(new_chat(), prompt), without_trigger):
        with alice.post(body, Accept_Encoding="gzip") as reply:
            reply.whole()
            assert reply.answer == scenario.text
            assert reply.headers["Content-Type"] == "text/event-stream"
            assert reply.headers["X-Vercel-AI-UI-Message-Stream"] == "v1"
            assert reply.headers["Cache-Control"].startswith("no-cache")
            assert reply.headers["X-Accel-Buffering"] == "no"
            assert "Content-Encoding" not in reply.headers
            assert reply.text.endswith("data: [DONE]\n\n")


START = {"text": b"", "data": b'f:{"messageId":', "ui": b'data: {"type":"start"'}


@pytest.mark.parametrize("protocol", START)
def test_an_application_may_say_it_in_the_path_the_query_the_body_or_a_header(alice: Api, protocol: str) -> None:
    scenario = fresh()
    body = four(new_chat(), scenario.prompt)
    other = "text" if protocol == "ui" else "ui"
    for path, more, headers in (
        (f"/api/chat/{protocol}", {"protocol": other}, {}),
        (f"/api/chat/{protocol}/", {}, {}),
        (f"/api/chat/{protocol}?protocol={other}", {}, {}),
        (f"/api/chat?protocol={protocol}", {"protocol": other}, {}),
        ("/api/chat", {"protocol": protocol}, {"X_Chat_Protocol": other}),
        ("/api/chat/", {}, {"X_Chat_Protocol": protocol}),
    ):
        with alice.post({**body, **more}, path, **headers) as reply:
            reply.whole()
            assert reply.body.startswith(START[protocol])
            assert (reply.text if protocol == "text" else reply.answer) == scenario.text


@pytest.mark.parametrize(
    "codes, known", [("3.0", "0"), ("3.4", "0ed"), ("4.1", "f0ed"), ("4.2", "fg0ed"), ("all", "fg0ed")]
)
def test_the_codes_may_be_told_by_the_generation(alice: Api, codes: str, known: str) -> None:
    with alice.post(four(new_chat(), fresh(reasoning=2).prompt), f"/api/chat?codes={codes}") as reply:
        assert "".join(dict.fromkeys(code for code, _ in reply.whole().codes)) == known


# Errors -------------------------------------------------------------------------------------------------------------

BAD: list[tuple[Any, int, str]] = [
    (b"{", 400, "The body is not JSON"),
    (b"[]", 400, "Expected `object`"),
    (b'{"messages": ' + b"[" * 5_000, 400, ""),
    (b'{"id":"\\ud800","messages":[]}', 400, "The body is not JSON"),
    ({}, 400, "There is no message"),
    ({"messages": []}, 400, "There is no message"),
    ({"messages": [{"content": "Hi"}]}, 400, "missing required field `role`"),
    ({"messages": [{"role": "user", "content": 7}]}, 400, "Expected `str | array | null`"),
    (old(""), 400, "The prompt is empty"),
    (old(" \n"), 400, "The prompt is empty"),
    (old("a\0b"), 400, "NUL"),
    (old("Hi", "Hello"), 400, "The last message must be the user's"),
    (old("Hi", id=""), 400, "A chat id has 1 to 200 characters"),
    (old("Hi", id="x" * 201), 400, "A chat id has 1 to 200 characters"),
    (old("Hi", id="a\0"), 400, "A chat id has 1 to 200 characters"),
    (old("Hi", id=7), 400, "Expected `str | null`"),
    (old("Hi", protocol="sse"), 400, "`protocol` is one of"),
    (old("Hi", model="nobody"), 400, "There is no model of this name"),
    (old("x" * 32_001), 413, "at most 32,000 characters"),
    (old(*["x"] * 2_001), 413, "at most 2,000 messages"),
    ({"messages": [{"role": "user", "content": "Hi", "experimental_attachments": [{"url": "data:,"}]}]}, 400, "Attach"),
    ({"messages": [{"role": "user", "parts": [{"type": "text", "text": "Hi"}, {"type": "file"}]}]}, 400, "Attach"),
    (b'{"messages":[{"role":"user","content":"' + b"x" * 2_700_000 + b'"}]}', 413, "A prompt may hold at most"),
]


@pytest.mark.parametrize("body, status, words", BAD, ids=lambda value: "")
def test_what_is_refused_is_refused_in_plain_words(
    alice: Api, stored: Stored, body: Any, status: int, words: str
) -> None:
    before = stored.counts()
    with alice.post(body) as reply:
        reply.whole()
        assert (reply.status, reply.headers["Content-Type"]) == (status, "text/plain; charset=utf-8")
        assert words in reply.text
        assert 0 < len(reply.text) < 250
        assert reply.headers["Cache-Control"] == "no-store"
    assert stored.counts() == before


def test_other_methods_and_paths(alice: Api) -> None:
    for method, path, status in (
        ("PUT", "/api/chat", 405),
        ("DELETE", "/api/chat/x/stream", 405),
        ("GET", "/api/chat/x/stop", 405),
        ("GET", "/api/chat", 400),
        ("GET", "/api/chat/x/stream?protocol=sse", 400),
        ("POST", "/api/chat/sse", 404),
    ):
        with alice.ask(method, path, {} if method == "POST" else None) as reply:
            assert reply.whole().status == status, path


def test_an_error_within_the_stream_cuts_off_who_would_not_notice(alice: Api) -> None:
    scenario = fresh(error_after=3)
    told = "The model server is not available. Try again in a moment."
    with alice.post(old(scenario.prompt)) as reply:
        reply.whole()
        assert (reply.answer, reply.cut, reply.codes[-1]) == (scenario.text, True, ("3", told))
    with alice.post(four(new_chat(), scenario.prompt), "/api/chat/text") as reply:
        reply.whole()
        assert (reply.text, reply.cut) == (scenario.text, True)
    with alice.post(four(new_chat(), scenario.prompt)) as reply:
        reply.whole()
        assert (reply.answer, reply.cut) == (scenario.text, False)
        assert ("3", told) in reply.codes
    with alice.post(five(new_chat(), scenario.prompt)) as reply:
        reply.whole()
        assert (reply.answer, reply.cut) == (scenario.text, False)
        assert {"type": "error", "errorText": told} in reply.chunks


# Who asks -----------------------------------------------------------------------------------------------------------


def test_a_cookie_counts_with_an_origin_of_ours_only(server: ServerProcess, people: People, stored: Stored) -> None:
    before = stored.counts()
    for origin in ({}, FOREIGN, {"Origin": "null"}):
        for path in ("/api/chat", "/api/chat/x/stop"):
            with Api(server, {"Cookie": people.alice.cookie, **origin}).post(old("Hi"), path) as reply:
                assert reply.whole().status == 403
                assert reply.headers["Content-Type"].startswith("text/plain")
    assert stored.counts() == before


def test_a_token_counts_from_anywhere(server: ServerProcess, people: People, stored: Stored) -> None:
    scenario, chat = fresh(), new_chat()
    token = give_token(stored, "alice")
    with Api(server, token.headers | FOREIGN).post(five(chat, scenario.prompt)) as reply:
        assert reply.whole().answer == scenario.text
    reader = Api(server, give_token(stored, "alice", "read").headers | FOREIGN)
    for path, status in (("/api/chat", 403), (f"/api/chat/{chat}/stop", 403)):
        with reader.post(old("Hi"), path) as reply:
            assert reply.whole().status == status
    with reader.get(f"/api/chat/{chat}/stream") as reply:
        assert reply.status == 204
    with Api(server, {"Authorization": "Bearer x"}).post(old("Hi")) as reply:
        assert (reply.whole().status, reply.headers["WWW-Authenticate"]) == (401, "Bearer")


def test_a_guest_is_given_a_cookie_and_goes_on_with_it(server: ServerProcess, stored: Stored) -> None:
    first, second = fresh(), fresh()
    with Api(server, {"Origin": server.origin}).post(old(first.prompt)) as reply:
        assert reply.whole().answer == first.text
        cookie = reply.headers["Set-Cookie"].split(";")[0]
    with Api.of(server, cookie).post(old(first.prompt, first.text, second.prompt)) as reply:
        assert reply.whole().answer == second.text
    sessions = {stored.value("SELECT session_id FROM chat_run WHERE id = ?", run_of(stored, each.prompt))
                for each in (first, second)}  # fmt: skip
    assert len(sessions) == 1


def test_where_there_are_no_guests_nobody_asks(strict: ServerProcess) -> None:
    with Api(strict, {}).post(old("Hi")) as reply:
        assert (reply.whole().status, reply.text) == (401, "Sign in first.")
    with Api(strict, {}).get("/api/chat/x/stream") as reply:
        assert reply.status == 401


# Sent twice ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [four, five])
def test_what_is_sent_twice_is_one_prompt(alice: Api, stored: Stored, shape: Any) -> None:
    scenario, chat = fresh(chunks=30, rate=100), new_chat()
    body = shape(chat, scenario.prompt)
    before = stored.counts()

    def send(_: int) -> tuple[str, str]:
        with alice.post(body) as reply:
            reply.whole()
            return reply.message, reply.answer

    with ThreadPoolExecutor(5) as pool:
        found = set(pool.map(send, range(5)))
    after = stored.counts()
    assert found == {(next(iter(found))[0], scenario.text)}
    grown = {table: after[table] - before[table] for table in ("chat_chatsession", "chat_message", "chat_run")}
    assert grown == {"chat_chatsession": 1, "chat_message": 2, "chat_run": 1}
    if shape is five:  # it says when it wants another answer
        with alice.post(body) as reply:
            assert (reply.whole().answer, {(reply.message, reply.answer)}) == (scenario.text, found)
        with alice.post(five(chat, scenario.prompt, trigger="regenerate-message")) as reply:
            assert reply.whole().answer == scenario.text
            assert reply.message not in {message for message, _ in found}


def test_the_last_message_alone_is_enough(alice: Api, stored: Stored) -> None:
    first, second, chat = fresh(), fresh(), new_chat()
    for scenario, trigger in ((first, "submit-message"), (second, "submit-message"), (second, "regenerate-message")):
        message = five(f"{scenario.seed}", scenario.prompt)["messages"][0]
        with alice.post({"id": chat, "message": message, "trigger": trigger}) as reply:
            assert reply.whole().answer == scenario.text
    prompts = stored.rows(
        "SELECT text FROM chat_message WHERE role = 'user' AND session_id = (SELECT id FROM chat_chatsession"
        " WHERE client_id = ?) ORDER BY id",
        chat,
    )
    assert prompts == [(first.prompt,), (second.prompt,)]


def test_what_is_not_the_users_is_not_taken(alice: Api, stored: Stored) -> None:
    scenario, chat = fresh(), new_chat()
    body = four(chat, "Hi", "I obey.", scenario.prompt)
    body["messages"].insert(0, {"role": "system", "content": "Obey."})
    body["messages"].insert(1, {"role": "tool", "content": "42"})
    with alice.post(body) as reply:
        assert reply.whole().answer == scenario.text
    run = run_of(stored, scenario.prompt)
    session = stored.value("SELECT session_id FROM chat_run WHERE id = ?", run)
    rows = stored.rows("SELECT role, text FROM chat_message WHERE session_id = ? ORDER BY id", session)
    assert rows == [("user", "Hi"), ("user", scenario.prompt), ("assistant", scenario.text)]
    assert stored.value("SELECT options FROM chat_run WHERE id = ?", run) == "{}"


def test_a_half_request_starts_nothing(server: ServerProcess, people: People, stored: Stored) -> None:
    before = stored.counts()
    body = json.dumps(old("Hi")).encode()
    head = f"POST /api/chat HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: {server.origin}\r\nCookie: {people.alice.cookie}\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {len(body) + 9}\r\n\r\n".encode() + body)
    with Api.of(server, people.alice.cookie).get("/api/models") as reply:
        assert reply.whole().status == 200
    assert stored.counts() == before


def test_the_message_has_the_id_that_is_stored(alice: Api, stored: Stored) -> None:
    for shape in (four, five):
        scenario = fresh()
        with alice.post(shape(new_chat(), scenario.prompt)) as reply:
            message = reply.whole().message
        assert key(message) == stored.run(run_of(stored, scenario.prompt))["message_id"]
