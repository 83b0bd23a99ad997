"""Chat sessions over REST: listed, made, changed and deleted, while other tabs look on."""

from contextlib import AbstractAsyncContextManager
from functools import cache
from typing import Any

import pytest

from tests.servers import ServerProcess
from tests.stored import Stored
from tests.tokens import give_token
from tests.transports.people import People, staff_of
from tests.transports.rest import Rest
from tests.upstream import Scenario
from tests.visitors import Visitor
from tests.wsclient import Client


@cache
def _nora(server: ServerProcess) -> Visitor:
    return Visitor(server.port).sign_up()


@pytest.fixture
def nora(server: ServerProcess) -> Visitor:
    """Somebody who has nothing yet."""
    nora = _nora(server)
    rest = Rest(server, nora)
    for session in rest.get("/api/sessions?state=all&limit=100")["sessions"]:
        rest.delete(f"/api/sessions/{session['id']}")
    return nora


@pytest.fixture
def rest(server: ServerProcess, nora: Visitor) -> Rest:
    return Rest(server, nora)


def tab_of(server: ServerProcess, who: Visitor) -> AbstractAsyncContextManager[Client]:
    return Client.connect(server.ws, cookie=who.cookie, origin=server.origin)


async def chat(server: ServerProcess, who: Visitor, **scenario: Any) -> dict[str, Any]:
    """A chat session with one prompt and its answer; the ids of run.accepted."""
    async with tab_of(server, who) as client:
        accepted = await client.prompt(Scenario(**{"chunks": 3, **scenario}).prompt)
        await client.ended(accepted["run"])
        return accepted


async def test_it_works(server: ServerProcess, nora: Visitor, rest: Rest) -> None:
    accepted = await chat(server, nora)
    [listed] = rest.get("/api/sessions")["sessions"]
    assert (listed["id"], listed["active"], listed["archived"]) == (accepted["session"], accepted["message"], False)
    path = f"/api/sessions/{accepted['session']}"
    assert rest.get(path) == {"session": listed | {"system": ""}, "runs": []}
    assert rest.patch(path, {"title": " A  new\nname "})["title"] == "A new name"
    rest.delete(path)
    assert rest.get("/api/sessions") == {"sessions": [], "next": None}
    assert rest.ask("GET", path).code == "not_found"


def test_the_list_comes_in_pages_and_by_state(rest: Rest) -> None:
    made = [rest.post("/api/sessions", {"title": f"Number {number}"})["id"] for number in range(7)]
    for id_ in made[:2]:
        rest.patch(f"/api/sessions/{id_}", {"archived": True})
    for state, expected in (("active", made[2:]), ("archived", made[:2]), ("all", made)):
        found, cursor = [], ""
        while True:
            page = rest.get(f"/api/sessions?state={state}&limit=2{cursor}")
            assert 1 <= len(page["sessions"]) <= 2
            found += [session["id"] for session in page["sessions"]]
            if page["next"] is None:
                break
            # What comes or goes meanwhile shifts nothing.
            rest.delete("/api/sessions/" + rest.post("/api/sessions", {"title": "in between"})["id"])
            cursor = f"&cursor={page['next']}"
        assert found == expected[::-1]


@pytest.mark.parametrize("query", ["cursor=x", "cursor=-", "cursor=ffffffffffffffffffffff-0", "limit=0", "state=gone"])
def test_a_wrong_query_names_its_field(rest: Rest, query: str) -> None:
    answer = rest.ask("GET", f"/api/sessions?{query}")
    assert (answer.status, answer.code) == (400, "bad_frame")
    assert answer.body["error"]["field"] == query.partition("=")[0]


async def test_a_prompt_goes_into_one_that_was_made_empty_and_names_it(
    server: ServerProcess, nora: Visitor, rest: Rest
) -> None:
    made = rest.post("/api/sessions", {"model": "test-small", "system": "Be brief."})
    assert (made["title"], made["model"], made["system"], made["active"]) == ("", "test-small", "Be brief.", None)
    async with tab_of(server, nora) as client:
        accepted = await client.prompt("Good morning", session=made["id"])
        await client.ended(accepted["run"])
        assert [frame["title"] for frame in client.frames if "title" in frame] == ["Good morning"]
    session = rest.get(f"/api/sessions/{made['id']}")["session"]
    assert (session["title"], session["active"]) == ("Good morning", accepted["message"])
    assert rest.get(f"/api/runs/{accepted['run']}")["model"] == "test-small"


async def test_a_name_that_the_user_gave_stays(server: ServerProcess, nora: Visitor, rest: Rest) -> None:
    made = rest.post("/api/sessions", {"title": "Mine"})
    async with tab_of(server, nora) as client:
        accepted = await client.prompt("Good morning", session=made["id"])
        await client.ended(accepted["run"])
    stored = Stored(server.database)
    assert stored.rows("SELECT title, titled_by FROM chat_chatsession WHERE id = ?", made["id"].replace("-", "")) == [
        ("Mine", "user")
    ]


async def test_other_tabs_hear_of_every_change(server: ServerProcess, nora: Visitor, rest: Rest) -> None:
    async with tab_of(server, nora) as tab:
        made = rest.post("/api/sessions", {"title": "One"})["id"]
        path = f"/api/sessions/{made}"
        rest.patch(path, {"title": "Two"})
        rest.patch(path, {"archived": True})
        rest.patch(path, {"archived": False, "model": "test-small"})
        rest.delete(path)
        told = [await tab.until_type("session.changed") for _ in range(5)]
    for frame in told:
        assert frame.pop("type") == "session.changed"
        assert frame.pop("session") == made
    assert told == [
        {"title": "One"},
        {"title": "Two"},
        {"title": "Two", "archived": True},
        {"title": "Two", "archived": False},
        {"deleted": True},
    ]


@pytest.mark.parametrize("by", ["owner", "operator", "operator's list"])
async def test_what_is_deleted_while_it_is_written_ends_for_all(
    server: ServerProcess, nora: Visitor, rest: Rest, stored: Stored, by: str
) -> None:
    async with tab_of(server, nora) as tab:
        accepted = await tab.prompt(Scenario(chunks=2000, rate=50).prompt)
        await tab.until_type("text.delta")
        assert rest.get(f"/api/sessions/{accepted['session']}")["runs"] == [accepted["run"]]
        session, admin = accepted["session"], "/admin/chat/chatsession/"
        if by == "owner":
            rest.delete(f"/api/sessions/{session}")
        elif by == "operator":
            staff_of(server).post(f"{admin}{session}/delete/", post="yes")
        else:
            staff_of(server).post(admin, action="delete_selected", _selected_action=session, post="yes")
        view = await tab.ended(accepted["run"])
        assert view.ended is not None
        assert (view.ended["type"], view.ended["message"]) == ("run.stopped", accepted["message"])
        assert view.text
        await tab.until_type("session.changed", session=accepted["session"], deleted=True)
        gone = await tab.ask("run.follow", run=accepted["run"])
        assert (gone["type"], gone["code"]) == ("error", "not_found")
    key = accepted["session"].replace("-", "")
    assert stored.value("SELECT count(*) FROM chat_run WHERE session_id = ?", key) == 0
    assert stored.value("SELECT count(*) FROM chat_runevent WHERE run_id NOT IN (SELECT log_id FROM chat_run)") == 0


@pytest.mark.parametrize(
    "body, code, field",
    [
        (b"", "bad_frame", None),
        (b"{", "bad_json", None),
        (b"[" * 100_000, "bad_json", None),
        (b'{"title": "\xff"}', "bad_json", None),
        (b"[]", "bad_frame", None),
        ({"title": 5}, "bad_frame", "title"),
        ({"title": "x" * 201}, "bad_frame", "title"),
        ({"title": "a\0b"}, "bad_frame", "title"),
        ({"system": "x" * 32_001}, "bad_frame", "system"),
        (b'{"system": "\\ud800"}', "bad_json", None),
        ({"model": "unheard-of"}, "unknown_model", "model"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_body_that_is_wrong_is_refused_and_makes_nothing(rest: Rest, body: Any, code: str, field: str | None) -> None:
    made = rest.post("/api/sessions", {})
    for method, path in (("POST", "/api/sessions"), ("PATCH", f"/api/sessions/{made['id']}")):
        answer = rest.ask(method, path, body)
        assert (answer.status, answer.code, answer.body["error"].get("field")) == (400, code, field), answer
    assert [session["title"] for session in rest.get("/api/sessions")["sessions"]] == [""]


def test_another_type_than_json_is_415(rest: Rest) -> None:
    form = b'--x\r\nContent-Disposition: form-data; name="title"\r\n\r\nx\r\n--x--\r\n'
    for type_, body in (
        ("text/plain", b'{"title": "x"}'),
        ("application/x-www-form-urlencoded", b"title=x"),
        ("multipart/form-data; boundary=x", form),
    ):
        answer = rest.ask("POST", "/api/sessions", body, **{"Content-Type": type_})
        assert (answer.status, answer.code) == (415, "bad_json")


@pytest.mark.parametrize(
    "method, path, status, code",
    [
        ("GET", "/api/", 404, "not_found"),
        ("GET", "/api/nothing", 404, "not_found"),
        ("GET", "/api/sessions/", 404, "not_found"),
        ("GET", "/api/sessions/not-an-id", 404, "not_found"),
        ("POST", "/api/nothing", 404, "not_found"),
        ("DELETE", "/api/sessions", 405, "bad_frame"),
        ("PUT", "/api/models", 405, "bad_frame"),
        ("GET", "/api/models?limit=1%00", 200, None),
        ("GET", "/api/runs/0190a5d2-0000-7000-8000-000000000001", 404, "not_found"),
    ],
)
def test_whatever_is_asked_is_answered_in_json(
    rest: Rest, method: str, path: str, status: int, code: str | None
) -> None:
    answer = rest.ask(method, path)
    assert answer.status == status
    assert code is None or answer.code == code
    if status == 405:
        assert "GET" in answer.headers["Allow"]


async def test_messages_come_by_branch_and_page(server: ServerProcess, nora: Visitor, rest: Rest) -> None:
    async with tab_of(server, nora) as client:
        first = await client.prompt(Scenario(chunks=3).prompt)
        await client.ended(first["run"])
        session = first["session"]
        second = await client.prompt(Scenario(chunks=2).prompt, session=session)
        await client.ended(second["run"])
        other = await client.ask("message.regenerate", message=second["message"])
        await client.ended(other["run"])
        state = await client.ask("session.open", session=session)
    path = f"/api/sessions/{session}/messages"
    page = rest.get(path)
    assert page == {"messages": state["messages"], "more": None}
    assert [message["id"] for message in page["messages"]] == [
        *(first["user_message"], first["message"], second["user_message"], other["message"]),
    ]
    assert page["messages"][-1]["siblings"] == [second["message"], other["message"]]

    newest = rest.get(f"{path}?limit=3")
    assert [message["id"] for message in newest["messages"]] == [each["id"] for each in page["messages"][1:]]
    earlier = rest.get(f"{path}?limit=3&before={newest['more']}")
    assert (earlier["messages"], earlier["more"]) == (page["messages"][:1], None)

    branch = rest.get(f"{path}?branch={second['message']}")["messages"]
    assert branch[-1]["id"] == second["message"]
    assert rest.get(f"/api/messages/{second['message']}") == branch[-1]
    assert rest.get(path) == page  # it was only read
    chosen = rest.post(f"/api/sessions/{session}/branch", {"message": second["message"]}, 200)
    assert chosen == {"active": second["message"]}
    assert rest.get(path)["messages"] == branch
    for query in (f"before={session}", f"branch={session}"):
        assert rest.ask("GET", f"{path}?{query}").code == "not_found"


async def test_runs_tell_how_they_went(server: ServerProcess, nora: Visitor, rest: Rest) -> None:
    well = await chat(server, nora)
    badly = await chat(server, nora, status=401)
    run = rest.get(f"/api/runs/{well['run']}")
    assert (run["id"], run["session"], run["message"]) == (well["run"], well["session"], well["message"])
    assert (run["status"], run["finish_reason"], run["error"]) == ("completed", "stop", None)
    assert run["usage"]["output_tokens"] > 0
    assert run["total_ms"] >= run["first_token_ms"] >= 0
    failed = rest.get(f"/api/runs/{badly['run']}")
    assert (failed["status"], failed["error"]["code"]) == ("failed", "upstream_auth")
    assert rest.get(f"/api/sessions/{well['session']}/runs") == {"runs": [run], "next": None}


async def test_usage_is_summed_by_day_and_model(server: ServerProcess, nora: Visitor, rest: Rest) -> None:
    accepted = [await chat(server, nora) for _ in range(2)]
    runs = [rest.get(f"/api/runs/{each['run']}") for each in accepted]
    usage = rest.get("/api/usage")
    [day] = usage["days"]
    assert (day["model"], day["runs"], day["day"]) == ("test-model", 2, runs[0]["created"][:10])
    for kind in ("input_tokens", "output_tokens", "reasoning_tokens"):
        assert day[kind] == sum(run["usage"][kind] for run in runs)
    assert day["estimated_runs"] == sum(run["usage"]["estimated"] for run in runs)
    assert usage["last"] >= day["day"]
    assert rest.get("/api/usage?first=2020-01-01&last=2020-12-31")["days"] == []
    for query in ("first=2020-01-02&last=2020-01-01", "first=2020-01-01&last=2021-01-01", "first=yesterday"):
        answer = rest.ask("GET", f"/api/usage?{query}")
        assert (answer.status, answer.body["error"]["field"]) == (400, "first")
    assert rest.ask("GET", "/api/usage?last=0001-01-01").status == 200


async def test_a_token_reads_and_a_guest_is_served_alike(
    server: ServerProcess, people: People, nora: Visitor, rest: Rest, stored: Stored
) -> None:
    made = rest.post("/api/sessions", {"title": "By cookie"})
    token = Rest(server, give_token(stored, nora.name, "read"))
    assert token.get("/api/sessions") == rest.get("/api/sessions")
    assert token.ask("DELETE", f"/api/sessions/{made['id']}").code == "forbidden"
    guest = Rest(server, people.charlie)
    mine = guest.post("/api/sessions", {"title": "A guest's"})
    assert mine["id"] in [session["id"] for session in guest.get("/api/sessions")["sessions"]]
    guest.delete(f"/api/sessions/{mine['id']}")
