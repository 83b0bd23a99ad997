"""Every route under /api/ and who may do what with it. A new one needs a row here, or test_api_ownership.py fails."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.urls import URLPattern, URLResolver

from chat import urls
from chat.api.app import api

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

    @property
    def is_change(self) -> bool:
        return self.method not in SAFE if self.changes is None else self.changes

    @property
    def is_owned(self) -> bool:
        return "{" in self.route


ROWS = [
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


def _flat(patterns: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        route = prefix + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(pattern.pattern))
        if isinstance(pattern, URLResolver):
            yield from _flat(pattern.url_patterns, route)
        else:
            assert isinstance(pattern, URLPattern)
            yield route, pattern.callback
