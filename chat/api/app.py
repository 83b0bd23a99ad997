"""The API object: who is let in, and what an error looks like. Each noun has a router in a file of its own."""

from typing import Any, cast

from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import ValidationError

from chat.api import exchange, models, search
from chat.protocol.errors import ChatError
from chat.transports.http import SAFE_METHODS, admit, error_response


async def signed_in(request: HttpRequest) -> Any:
    """Raises ChatError."""
    desk, visitor = await admit(request)
    if request.method not in SAFE_METHODS:
        visitor.check_may_write()
    cast(Any, request).desk = desk
    return visitor


def _refused(request: HttpRequest, error: Any) -> HttpResponse:
    return error_response(error)


def _invalid(request: HttpRequest, error: Any) -> HttpResponse:
    """The first fault, named as its field; more than one helps nobody."""
    fault = error.errors[0]
    field = ".".join(str(part) for part in fault["loc"][1:] if part != "payload")
    return error_response(ChatError("bad_frame", f"{fault['msg']}. See /api/docs.", field=field or None))


api = NinjaAPI(title="Tokenwire", version="1", auth=signed_in, urls_namespace="api", docs_url="docs")
api.add_exception_handler(ChatError, _refused)
api.add_exception_handler(ValidationError, _invalid)
api.add_router("/models", models.router)
api.add_router("/search", search.router)
api.add_router("", exchange.router)
