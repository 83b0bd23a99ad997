"""A database that does not answer is HTTP 503 with Retry-After, wherever in a request it shows."""

import logging
import sys

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.views import defaults

from chat.models.outage import is_outage, tell
from chat.protocol.errors import RETRY_AFTER_SECONDS, ChatError
from chat.transports.middleware import Middleware

log = logging.getLogger(__name__)

MESSAGE = "The database does not answer right now. Try again in a moment."


class Unavailable(Middleware):
    """Only for its `process_exception`: what a view raises ends here, before Django makes a traceback of it."""

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        return answer(request, error)


def server_error(request: HttpRequest) -> HttpResponse:
    """handler500: of what no view raised, such as a session that could not be saved, or the page for a 404."""
    return answer(request, sys.exc_info()[1]) or defaults.server_error(request)


def answer(request: HttpRequest, error: BaseException | None) -> HttpResponse | None:
    """503, if this error is an outage."""
    if error is None or not (is_outage(error) or (isinstance(error, ChatError) and error.code == "unavailable")):
        return None
    tell(log, "a request cannot be answered", error)
    response = _json() if _wants_json(request) else HttpResponse(render_to_string("503.html"), status=503)
    response["Retry-After"] = str(RETRY_AFTER_SECONDS)
    response["Cache-Control"] = "no-store"
    return response


def _json() -> JsonResponse:
    return JsonResponse({"error": {"code": "unavailable", "message": MESSAGE, "retryable": True}}, status=503)


def _wants_json(request: HttpRequest) -> bool:
    return request.path.startswith("/api/") or (
        request.accepts("application/json") and not request.accepts("text/html")
    )
