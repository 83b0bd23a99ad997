"""Every route under /api/ and who may do what with it. A new one needs a row here, or test_api_ownership.py fails."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.urls import URLPattern, URLResolver

from chat import urls
from chat.api.app import api
from tests.upstream import Scenario

SAFE = {"GET", "HEAD"}


class Row(NamedTuple):
    """`{session}`, `{message}`, `{run}` and `{token}` stand for the owner's, in the path and in the body."""

    method: str
    route: str
    body: Any = None
    status: int = 200  # for whom it is
    query: str = ""
    changes: bool | None = None  # None: as its method says
    account: bool = False  # not for guests
    by_password: bool = False  # not for API tokens
    csrf: bool = True  # a cookie needs the token; False: an Origin does
    plain: bool = False  # its errors are plain text
    same: bool = False  # somebody else's is answered as what holds nothing new

    @property
    def is_change(self) -> bool:
        return self.method not in SAFE if self.changes is None else self.changes

    @property
    def is_owned(self) -> bool:
        return "{" in self.route


PROMPT = Scenario(chunks=1).prompt
NOTHING = {"format": "tokenwire", "version": 1, "exported": "2026-01-05T09:30:00Z", "sessions": []}

ROWS = [
    Row("POST", "/api/stream", {"prompt": PROMPT}),
    Row("GET", "/api/stream", query=f"?{urlencode({'prompt': PROMPT})}", changes=True, csrf=False),
    Row("POST", "/api/text", {"prompt": PROMPT}),
    Row("GET", "/api/runs/{run}/events"),
    Row("POST", "/api/runs/{run}/stop"),
    Row("POST", "/api/chat", {"messages": [{"role": "user", "content": PROMPT}]}, csrf=False, plain=True),
    Row("GET", "/api/chat", query="?chatId=01900000-0000-7000-8000-000000000001", plain=True),
    Row("GET", "/api/chat/{session}/stream", None, 204, plain=True, same=True),
    Row("POST", "/api/chat/{session}/stop", None, 204, csrf=False, plain=True),
    Row("GET", "/api/search", query="?q=hello"),
    Row("GET", "/api/export"),
    Row("GET", "/api/sessions/{session}/export"),
    Row("POST", "/api/import", NOTHING),
    Row("GET", "/api/models"),
    Row("GET", "/api/sessions", query="?state=all"),
    Row("POST", "/api/sessions", {"title": "Made"}, 201),
    Row("GET", "/api/sessions/{session}"),
    Row("PATCH", "/api/sessions/{session}", {"title": "Changed", "archived": True}),
    Row("DELETE", "/api/sessions/{session}", None, 204),
    Row("GET", "/api/sessions/{session}/messages"),
    Row("GET", "/api/sessions/{session}/runs"),
    Row("POST", "/api/sessions/{session}/branch", {"message": "{message}"}),
    Row("GET", "/api/messages/{message}"),
    Row("GET", "/api/runs/{run}"),
    Row("GET", "/api/usage"),
    Row("GET", "/api/tokens", account=True),
    Row("POST", "/api/tokens", {"name": "Made", "scope": "read"}, 201, account=True, by_password=True),
    Row("DELETE", "/api/tokens/{token}", None, 204, account=True),
]
# Nobody's, so for everybody.
OPEN = {"/api/", "/api/docs", "/api/openapi.json"}


def all_routes() -> set[tuple[str, str]]:
    """(method, route) of everything that answers; the method is "*" where it cannot be told."""
    described = api.get_openapi_schema()["paths"]
    found = set()
    for pattern in _flat(urls.urlpatterns, "/api/"):
        route, view = pattern
        methods = getattr(view, "methods", None) or [method.upper() for method in described.get(route, ("*",))]
        found |= {(method, route) for method in methods}
    return found


def _plain(pattern: str) -> str:
    """The names that a path has places for; of a regular expression, without what may be left out."""
    pattern = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", re.sub(r"\(\?:/\(\?P<variant>[^)]*\)\)\?|^\^|/\?\$$", "", pattern))
    return pattern.replace("(?P{chat}.+)", "{session}")  # a chat's name on its client, or the id of a chat session


def _flat(patterns: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        route = prefix + _plain(str(pattern.pattern))
        if isinstance(pattern, URLResolver):
            yield from _flat(pattern.url_patterns, route)
        else:
            assert isinstance(pattern, URLPattern)
            yield route, pattern.callback
