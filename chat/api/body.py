"""What goes in and out of an operation: JSON, decoded and encoded by msgspec."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from django.http import HttpRequest, HttpResponse
from ninja.parser import Parser
from ninja.renderers import JSONRenderer
from ninja.responses import NinjaJSONEncoder
from pydantic import AfterValidator

from chat.protocol.errors import ChatError


class NotJson(ChatError):
    """By its own Content-Type: HTTP 415."""

    def __init__(self) -> None:
        super().__init__("bad_json", "Send JSON, with the header Content-Type: application/json.")


def check_type(request: HttpRequest) -> None:
    """Raises NotJson. To be asked first: the check for a CSRF token reads a form to its end."""
    if request.content_type not in {"", "application/json"}:
        raise NotJson


class JsonBody(Parser):
    def parse_body(self, request: HttpRequest) -> Any:
        """Raises ChatError."""
        try:
            body = msgspec.json.decode(request.body)
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            raise ChatError("bad_json", "The body is not JSON. Send one JSON object.") from None
        if not isinstance(body, dict):
            raise ChatError("bad_frame", "The body is JSON, but no object. Send one JSON object.")
        return body


class _Encoder(NinjaJSONEncoder):
    def default(self, o: Any) -> Any:
        # As the frames of a socket write it, not cut off at milliseconds.
        return o.isoformat() if isinstance(o, datetime) else super().default(o)


class Renderer(JSONRenderer):
    encoder_class = _Encoder


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("holds a NUL character, which cannot be stored")
    return text


def _one_line(text: str) -> str:
    return " ".join(text.split())


Text = Annotated[str, AfterValidator(_storable)]
Line = Annotated[Text, AfterValidator(_one_line)]


def encoded(value: Any) -> bytes:
    """What may be long is encoded where it was read, in a thread: the event loop has streams to serve."""
    return msgspec.json.encode(value)


def answer(body: bytes) -> HttpResponse:
    response = HttpResponse(body, content_type="application/json; charset=utf-8")
    response["Cache-Control"] = "no-store"
    return response
