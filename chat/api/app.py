"""The API object: who is let in, and what an error looks like. Each noun has a router in a file of its own."""

import logging
from typing import Any, cast

from django.core.exceptions import TooManyFieldsSent
from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError

from chat.api import exchange, messages, models, runs, search, sessions, tokens, usage
from chat.api.body import JsonBody, NotJson, Renderer, check_type
from chat.api.describe import Docs, described
from chat.models.outage import is_outage, tell
from chat.protocol.errors import ChatError
from chat.transports.http import SAFE_METHODS, admit, error_response

log = logging.getLogger(__name__)

ABOUT = """\
Who asks: `Authorization: Bearer <API token>`, or the session cookie of a signed-in user or guest. A cookie's request
that changes anything needs its CSRF token as the header `X-CSRFToken`.

Lists come in pages: pass `next` of one as `cursor` for the page after it.

Streams of answers, such as `/api/stream`, are not on this page: docs/protocol.md tells of them.
"""


async def signed_in(request: HttpRequest) -> Any:
    """Raises ChatError."""
    changes = request.method not in SAFE_METHODS
    if changes:
        check_type(request)
    desk, visitor = await admit(request)
    if changes:
        visitor.check_may_write()
    cast(Any, request).desk = desk
    return visitor


class Api(NinjaAPI):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._described: dict[str, dict[str, Any]] = {}

    def create_temporal_response(self, request: HttpRequest) -> HttpResponse:
        response = super().create_temporal_response(request)
        response["Cache-Control"] = "no-store"
        return response

    def get_openapi_schema(self, **kwargs: Any) -> Any:
        """Made once for each place it is mounted at: it takes 50 ms, and anybody may ask."""
        place = self.get_root_path({})
        if place not in self._described:
            self._described[place] = described(super().get_openapi_schema(**kwargs))
        return self._described[place]


def _refused(request: HttpRequest, error: Any) -> HttpResponse:
    return error_response(error, 415 if isinstance(error, NotJson) else None)


def _invalid(request: HttpRequest, error: Any) -> HttpResponse:
    """The first fault, named as its field; more than one helps nobody."""
    fault = error.errors[0]
    field = ".".join(str(part) for part in fault["loc"][1:] if part != "asked")
    return error_response(ChatError("bad_frame", f"{fault['msg']}. See /api/docs.", field=field or None))


def _http(request: HttpRequest, error: Any) -> HttpResponse:
    """ninja makes its own of what reading a body raises."""
    if isinstance(error.__cause__, ChatError):
        return error_response(error.__cause__)
    return error_response(ChatError("bad_frame", str(error)), error.status_code)


def _missing(request: HttpRequest, error: Any) -> HttpResponse:
    return error_response(ChatError("not_found", "There is nothing here. See /api/docs."))


def _too_many(request: HttpRequest, error: Any) -> HttpResponse:
    """What Django will not read: it would answer 400 itself, did ninja let it."""
    return error_response(ChatError("bad_frame", "The request has too many fields. See /api/docs."))


def _failed(request: HttpRequest, error: Any) -> HttpResponse:
    if is_outage(error):
        tell(log, "a request cannot be answered", error)
        return error_response(ChatError("unavailable", "The database does not answer right now. Try again soon."))
    log.error("%s %s failed", request.method, request.path, exc_info=error)
    return error_response(ChatError("internal", "Something went wrong on the server. Try again."))


api = Api(
    title="Tokenwire",
    version="1",
    description=ABOUT,
    auth=signed_in,
    urls_namespace="api",
    docs=Docs(),
    docs_url="docs",
    parser=JsonBody(),
    renderer=Renderer(),
)
for kind, handler in (
    (Exception, _failed),
    (TooManyFieldsSent, _too_many),
    (ChatError, _refused),
    (ValidationError, _invalid),
    (HttpError, _http),
    (Http404, _missing),
):
    api.add_exception_handler(kind, handler)
api.add_router("/sessions", sessions.router)
api.add_router("", messages.router)
api.add_router("", runs.router)
api.add_router("/models", models.router)
api.add_router("/usage", usage.router)
api.add_router("/tokens", tokens.router)
api.add_router("/search", search.router)
api.add_router("", exchange.router)
