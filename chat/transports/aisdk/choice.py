"""Which of its protocols a client of `useChat` speaks: told by the application, or by the shape of the request."""

from typing import Literal, NamedTuple, cast

from django.conf import settings
from django.http import HttpRequest

from chat.protocol.errors import ChatError
from chat.transports.aisdk.body import Body
from chat.transports.aisdk.data_stream import Codes, DataStream
from chat.transports.aisdk.encoder import Encoder
from chat.transports.aisdk.text import PlainText
from chat.transports.aisdk.ui_stream import UIStream
from chat.transports.http import query_of

Protocol = Literal["text", "data", "ui"]
PROTOCOLS = ("text", "data", "ui")
# By the generation that knows no more than these.
CODES = {"3.0": Codes.COMMON, "3.4": Codes.STEPS, "4.1": Codes.IDS, "4.2": Codes.ALL, "all": Codes.ALL}


class Choice(NamedTuple):
    protocol: Protocol
    codes: Codes = Codes.ALL

    def encoder(self, message: str) -> Encoder:
        match self.protocol:
            case "text":
                return PlainText(message)
            case "data":
                return DataStream(message, self.codes)
            case "ui":
                return UIStream(message)


def choose(request: HttpRequest, variant: str | None, by_shape: Choice, body: Body | None = None) -> Choice:
    """The path goes before the query, this before the body, this before the header, and all before the setting.

    Raises ChatError: bad_frame.
    """
    named = (
        variant,
        query_of(request).get("protocol"),
        body.protocol if body else None,
        request.headers.get("X-Chat-Protocol"),
        settings.CHAT_AISDK_PROTOCOL,
    )
    told = next(name for name in named if name)
    if told not in {"auto", *PROTOCOLS}:
        raise ChatError("bad_frame", "`protocol` is one of auto, text, data and ui.", field="protocol")
    protocol = by_shape.protocol if told == "auto" else cast(Protocol, told)
    codes = _codes(request)
    return Choice(protocol, by_shape.codes if codes is None else codes)


def shape(body: Body) -> Choice:
    """What an application that changes nothing about its requests speaks."""
    messages = body.said
    if body.trigger is not None or any(each.parts is not None and each.content is None for each in messages):
        return Choice("ui")
    if any(each.parts is not None for each in messages):
        return Choice("data", Codes.ALL)
    return Choice("data", Codes.COMMON if body.id is None else Codes.IDS)


def _codes(request: HttpRequest) -> Codes | None:
    told = query_of(request).get("codes")
    if told is not None and told not in CODES:
        raise ChatError("bad_frame", f"`codes` is one of {', '.join(CODES)}.", field="codes")
    return CODES[told] if told else None
