"""Breaks a response off, for protocols that have no word for a failure: a client must not take a part for the whole."""

import asyncio
import sys
from collections.abc import Callable

from django.http import HttpRequest

# The ASGI extension of a server that can close a connection within a response: a Callable[[], None].
HANG_UP = "chat.hang_up"


def hang_up(request: HttpRequest) -> None:
    """To be called where the body is made. What was written still arrives, the end of the body does not.

    Raises CancelledError, upon which Django leaves the response as it is and a server closes the connection. daphne
    would keep it open instead: there it takes the extension (chat/management/serving.py), or the body ends well.
    """
    scope = getattr(request, "scope", {})
    close: Callable[[], None] | None = scope.get("extensions", {}).get(HANG_UP)
    if close is not None:
        close()
    elif getattr(sys.modules.get("twisted.internet.reactor"), "running", False):
        return
    raise asyncio.CancelledError
