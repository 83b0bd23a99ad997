"""Under /api/ an error is JSON, whoever made it: Django's own pages for 400, 404, 405 and 500 become it here."""

from collections.abc import Awaitable, Callable
from typing import Any, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from chat.protocol.errors import ChatError
from chat.transports.http import error_response

Handler = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]

_SAID = {
    404: ChatError("not_found", "There is nothing here. See /api/docs."),
    405: ChatError("bad_frame", "This method is not understood here. See /api/docs."),
    413: ChatError("too_large", "The body is too large. Send less at once."),
}
_REFUSED = ChatError("bad_frame", "The request was refused. See /api/docs.")
_FAILED = ChatError("internal", "Something went wrong on the server. Try again.")
# What a client needs of the answer that is replaced.
_KEPT = ("Allow", "Retry-After", "Vary")


class JsonErrors:
    """Runs as sync or as async, whichever is around it: a middleware that is only sync would hold streams up."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Handler) -> None:
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(cast(Any, self))

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self._is_async:
            return self._later(request)
        return in_json(request, cast(HttpResponseBase, self._get_response(request)))

    async def _later(self, request: HttpRequest) -> HttpResponseBase:
        return in_json(request, await cast(Awaitable[HttpResponseBase], self._get_response(request)))


def in_json(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    status = response.status_code
    if status < 400 or not request.path_info.startswith("/api/") or not _is_html(response):
        return response
    fallback = _FAILED if status >= 500 else _REFUSED
    made = error_response(_SAID.get(status, fallback), status)
    for name in _KEPT:
        if name in response.headers:
            made[name] = response.headers[name]
    made["Content-Length"] = str(len(made.content))
    made.cookies = response.cookies
    return made


def _is_html(response: HttpResponseBase) -> bool:
    """Nothing of ours is: whoever answers in another form (the AI SDK reads plain text) has its reasons."""
    return response.headers.get("Content-Type", "").partition(";")[0] == "text/html"
