"""Search, export and import over HTTP, on both servers."""

import http.client
import json
from email.message import Message
from functools import cache
from typing import Any
from urllib.parse import quote

import pytest

from tests.runs import chatgpt_file as chatgpt
from tests.servers import ServerProcess
from tests.stored import Stored
from tests.tokens import give_token
from tests.transports.people import People
from tests.visitors import Visitor
from tests.waiting import until


def call(
    server: ServerProcess, method: str, path: str, headers: dict[str, str], body: bytes | None = None
) -> tuple[int, bytes, Message]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read(), response.headers
    finally:
        connection.close()


def get(server: ServerProcess, path: str, headers: dict[str, str]) -> Any:
    status, body, _ = call(server, "GET", path, headers)
    assert status == 200, body
    return json.loads(body)


def post_file(server: ServerProcess, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
    status, answer, _ = call(server, "POST", "/api/import", {"Content-Type": "application/json", **headers}, body)
    return status, json.loads(answer)


class Person:
    """Somebody new with a token."""

    def __init__(self, server: ServerProcess, stored: Stored) -> None:
        self.visitor = Visitor(server.port).sign_up()
        self.headers = give_token(stored, self.visitor.name).headers
        self.reads = give_token(stored, self.visitor.name, "read").headers


@cache
def reader_of(server: ServerProcess) -> Person:
    return Person(server, Stored(server.database))


@pytest.fixture
def reader(server: ServerProcess) -> Person:
    """Whose chat sessions don't matter."""
    return reader_of(server)


@pytest.fixture
def emma(server: ServerProcess, stored: Stored) -> Person:
    return Person(server, stored)


@pytest.fixture
def frank(server: ServerProcess, stored: Stored) -> Person:
    return Person(server, stored)


async def test_it_works(server: ServerProcess, emma: Person, frank: Person) -> None:
    status, report = post_file(server, chatgpt.file(chatgpt.EDITED, chatgpt.WITH_TOOLS), emma.headers)
    assert (status, report) == (200, {"imported": 2, "unchanged": 0, "skipped": []})
    assert post_file(server, chatgpt.file(chatgpt.EDITED), emma.headers)[1]["unchanged"] == 1

    def hits(person: Person) -> list[Any]:
        return list(get(server, "/api/search?q=pict", person.reads)["hits"])

    await until(lambda: bool(hits(emma)), seconds=10)
    [hit] = hits(emma)
    assert hit["snippet"] == "```python print(1) ``` It is a picture."
    assert [hit["snippet"][start:end] for start, end in hit["matches"]] == ["picture"]
    assert hits(frank) == []

    file = get(server, "/api/export", emma.reads)
    assert {session["title"] for session in file["sessions"]} == {"A conversation", "[image] What is this? Please."}
    one = get(server, f"/api/sessions/{hit['session']}/export", emma.reads)
    assert [session["id"] for session in one["sessions"]] == [hit["session"]]
    assert get(server, "/api/export", frank.reads)["sessions"] == []
    status, body, _ = call(server, "GET", f"/api/sessions/{hit['session']}/export", frank.headers)
    assert (status, json.loads(body)["error"]["code"]) == (404, "not_found")

    status, report = post_file(server, json.dumps(file).encode(), frank.headers)
    assert (status, report["imported"]) == (200, 2)


def test_files_are_named_after_what_they_hold(server: ServerProcess, emma: Person) -> None:
    titled = {**chatgpt.EDITED, "title": 'Ärger "und"\r\nX-Evil: 1'}
    assert post_file(server, chatgpt.file(titled), emma.headers)[0] == 200
    _, body, headers = call(server, "GET", "/api/export", emma.reads)
    assert headers["Content-Type"] == "application/json"
    assert headers["Content-Disposition"].startswith('attachment; filename="chats-20')
    assert "no-store" in headers["Cache-Control"]
    [session] = json.loads(body)["sessions"]
    status, body, headers = call(server, "GET", f"/api/sessions/{session['id']}/export?format=markdown", emma.reads)
    assert (status, headers["Content-Type"]) == (200, "text/markdown; charset=utf-8")
    assert headers["Content-Disposition"].startswith("attachment; filename*=utf-8''%C3%84rger-und-X-Evil-1-20")
    assert headers["X-Evil"] is None
    assert body.decode().startswith('# Ärger "und" X-Evil: 1\n\n2023-11-14')


@pytest.mark.parametrize(
    "query",
    ["", "q=", "q=%00", "q=%FF%FE", "q=" + quote('"*^:(){}[]NEAR OR AND NOT -+'), "q=" + "x" * 6000, "q=a&cursor=0"],
)
def test_any_query_is_answered(server: ServerProcess, reader: Person, query: str) -> None:
    status, body, _ = call(server, "GET", f"/api/search?{query}", reader.reads)
    answer = json.loads(body)
    assert (status, answer) == (200, {"hits": [], "next": None}) or (status, answer["error"]["field"]) == (400, "q")


@pytest.mark.parametrize("cursor", ["", "x", "-1", "9" * 30, "%00"])
def test_a_cursor_that_is_none_is_refused(server: ServerProcess, reader: Person, cursor: str) -> None:
    status, body, _ = call(server, "GET", f"/api/search?q=a&cursor={cursor}", reader.reads)
    assert (status, json.loads(body)["error"]["field"]) == (400, "cursor")


def test_who_may_only_read_imports_nothing(server: ServerProcess, reader: Person, stored: Stored) -> None:
    before = stored.counts()
    status, answer = post_file(server, chatgpt.file(chatgpt.EDITED), reader.reads)
    assert (status, answer["error"]["code"]) == (403, "forbidden")
    status, answer = post_file(server, chatgpt.file(chatgpt.EDITED), {"Cookie": reader.visitor.cookie})
    assert (status, answer["error"]["code"]) == (403, "forbidden")
    assert stored.counts() == before


def test_a_cookie_with_its_csrf_token_imports_and_a_guest_too(
    server: ServerProcess, emma: Person, people: People
) -> None:
    for visitor in (emma.visitor, people.charlie):
        visitor.request("GET", "/login/")
        headers = {"Cookie": visitor.cookie, "X-CSRFToken": visitor.cookies["csrftoken"]}
        status, report = post_file(server, chatgpt.file(chatgpt.EDITED), headers)
        assert (status, report["imported"] + report["unchanged"]) == (200, 1)
        assert get(server, "/api/export", {"Cookie": visitor.cookie})["sessions"]


@pytest.mark.parametrize("body", [b"", b"null", b"{", b"[" * 50_000, b"\x00\xff", b"[1]", b'{"sessions":[{}]}'])
def test_what_is_no_export_is_refused(server: ServerProcess, reader: Person, body: bytes) -> None:
    status, answer = post_file(server, body, reader.headers)
    assert (status, answer["error"]["code"]) in {(400, "bad_json"), (400, "bad_frame")}


def test_a_file_of_many_megabytes_is_taken(server: ServerProcess, emma: Person) -> None:
    """Longer than what Django holds of a body in memory, and than most limits of one."""
    long = [
        chatgpt.conversation(
            *[chatgpt.node(f"{k}", f"{k - 1}" if k else None, "user", f"{n} " + "é" * 100_000) for k in range(10)],
            id=f"long {n}",
            conversation_id=f"long {n}",
        )
        for n in range(2)
    ]
    body = json.dumps(long).encode()
    assert len(body) > 10 * 1024**2
    status, report = post_file(server, body, emma.headers)
    assert (status, report) == (200, {"imported": 2, "unchanged": 0, "skipped": []})
    assert [len(session["messages"]) for session in get(server, "/api/export", emma.reads)["sessions"]] == [10, 10]


def test_more_than_the_most_is_refused(server: ServerProcess, reader: Person) -> None:
    status, answer = post_file(server, b" " * (64 * 1024**2 + 1), reader.headers)
    assert (status, answer["error"]["code"]) == (413, "too_large")


def test_a_form_is_no_file(server: ServerProcess, reader: Person) -> None:
    visitor = reader.visitor
    headers = {"Cookie": visitor.cookie, "Content-Type": "application/x-www-form-urlencoded"}
    status, body, _ = call(server, "POST", "/api/import", headers, b"a=b" * 2_000_000)
    assert status in (413, 415), body


def test_whoever_leaves_an_export_halfway_bothers_nobody(server: ServerProcess, emma: Person) -> None:
    nodes = [chatgpt.node(f"{k}", f"{k - 1}" if k else None, "user", "x" * 50_000) for k in range(100)]
    assert post_file(server, chatgpt.file(chatgpt.conversation(*nodes)), emma.headers)[0] == 200
    for _ in range(5):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request("GET", "/api/export", headers=emma.reads)
        assert connection.getresponse().read(1000).startswith(b'{"format":"tokenwire"')
        connection.close()
    [session] = get(server, "/api/export", emma.reads)["sessions"]
    assert len(session["messages"]) == 100


def test_what_is_asked_for_wrongly_is_refused(server: ServerProcess, reader: Person) -> None:
    for path in ("/api/export?format=pdf", "/api/sessions/00000000-0000-0000-0000-000000000000/export?format="):
        status, body, _ = call(server, "GET", path, reader.reads)
        assert (status, json.loads(body)["error"]["field"]) == (400, "format")
    paths = get(server, "/api/openapi.json", reader.reads)["paths"]
    assert {"/api/search", "/api/export", "/api/sessions/{session}/export", "/api/import"} <= set(paths)
