"""Pages of other sites: those on the list may use /api/, with an API token and never with a cookie."""

import pytest

from tests.servers import ServerProcess
from tests.stored import Stored
from tests.tokens import give_token
from tests.transports.people import People
from tests.transports.rest import Rest

LISTED = {"Origin": "https://app.example"}
FOREIGN = {"Origin": "https://evil.example"}
ALLOWED = "Access-Control-Allow-Origin"


def test_a_listed_page_may_ask_first_without_a_sign_in(strict: ServerProcess, server: ServerProcess) -> None:
    asks = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization,content-type"}
    answer = Rest(server).ask("OPTIONS", "/api/sessions", **LISTED, **asks)
    assert (answer.status, answer.headers[ALLOWED]) == (200, "https://app.example")
    assert "PATCH" in answer.headers["Access-Control-Allow-Methods"]
    allowed = set(answer.headers["Access-Control-Allow-Headers"].lower().split(", "))
    assert {"authorization", "content-type", "last-event-id", "x-chat-protocol"} <= allowed
    assert "Set-Cookie" not in answer.headers
    for other, server_ in ((FOREIGN, server), (LISTED, strict)):
        assert Rest(server_).ask("OPTIONS", "/api/sessions", **other, **asks).headers[ALLOWED] is None


def test_with_a_token_it_reads_and_changes(server: ServerProcess, people: People, stored: Stored) -> None:
    page = Rest(server, give_token(stored, "alice"), **LISTED)
    for answer in (page.ask("POST", "/api/sessions", {"title": "From there"}), page.ask("GET", "/api/sessions")):
        assert answer.status in {200, 201}
        assert answer.headers[ALLOWED] == "https://app.example"
        assert answer.headers["Access-Control-Allow-Credentials"] is None
        assert "origin" in answer.headers["Vary"]
        exposed = answer.headers["Access-Control-Expose-Headers"]
        for name in ("Retry-After", "X-Experimental-Stream-Data", "X-Vercel-AI-Data-Stream"):
            assert name.lower() in exposed
        assert "x-vercel-ai-ui-message-stream" in exposed


def test_errors_can_be_read_there_too(server: ServerProcess) -> None:
    for path, headers, status in (
        ("/api/sessions", {"Authorization": "Bearer no"}, 401),
        ("/api/nothing", {}, 404),
    ):
        answer = Rest(server).ask("GET", path, **headers, **LISTED)
        assert (answer.status, answer.headers[ALLOWED]) == (status, "https://app.example")
        assert answer.code


@pytest.mark.parametrize("origin", [LISTED, FOREIGN], ids=["listed", "foreign"])
def test_a_cookie_is_of_no_use_there(server: ServerProcess, people: People, origin: dict[str, str]) -> None:
    answer = Rest(server, people.alice, **origin).ask("POST", "/api/sessions", {})
    assert (answer.status, answer.code) == (403, "forbidden")
    # Not even a guest's, of which a browser would send none.
    assert Rest(server).ask("POST", "/api/sessions", {}, **origin).status == 403


def test_pages_are_nobody_elses(server: ServerProcess, people: People) -> None:
    for path in ("/", "/admin/login/"):
        assert Rest(server, people.alice).ask("GET", path, **LISTED).headers[ALLOWED] is None
