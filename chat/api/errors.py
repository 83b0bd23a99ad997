"""Under /api/ an error is JSON, whoever made it: Django's own pages for 400, 404, 405 and 500 become it here."""

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from chat.protocol.errors import ChatError
from chat.transports.http import error_response
from chat.transports.middleware import Middleware

_SAID = {
    404: ChatError("not_found", "There is nothing here. See /api/docs."),
    405: ChatError("bad_frame", "This method is not understood here. See /api/docs."),
    413: ChatError("too_large", "The body is too large. Send less at once."),
}
_REFUSED = ChatError("bad_frame", "The request was refused. See /api/docs.")
_FAILED = ChatError("internal", "Something went wrong on the server. Try again.")
# What a client needs of the answer that is replaced.
_KEPT = ("Allow", "Retry-After", "Vary")


class JsonErrors(Middleware):
    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        return in_json(request, response)


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
