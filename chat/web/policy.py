"""The Content-Security-Policy of every page, the admin's too: nothing inline runs without this response's nonce."""

import secrets
from collections.abc import Awaitable, Callable
from typing import Any, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest
from django.http.response import HttpResponseBase

Handler = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


class ContentSecurityPolicy:
    """Sets `request.csp_nonce`. Runs as sync or as async, whichever is around it.

    A middleware that can only be sync would make Django read whole streams into memory before it sends them.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(cast(Any, self))

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        nonce = secrets.token_urlsafe(16)
        request.csp_nonce = nonce  # type: ignore[attr-defined]
        if self.is_async:
            return self._later(request, nonce)
        return protect(request, cast(HttpResponseBase, self.get_response(request)), nonce)

    async def _later(self, request: HttpRequest, nonce: str) -> HttpResponseBase:
        return protect(request, await cast(Awaitable[HttpResponseBase], self.get_response(request)), nonce)


def protect(request: HttpRequest, response: HttpResponseBase, nonce: str) -> HttpResponseBase:
    # setdefault: a view that needs another policy has set its own.
    response.headers.setdefault("Content-Security-Policy", policy(sockets_of(request), nonce))
    response.headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    return response


def policy(sockets: str, nonce: str) -> str:
    return "; ".join(
        [
            "default-src 'self'",
            f"script-src 'self' 'nonce-{nonce}'",
            "style-src 'self'",
            "img-src 'self' data:",
            f"connect-src 'self'{sockets}",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        ]
    )


def sockets_of(request: HttpRequest) -> str:
    """The WebSocket origins of this host: Safari before 15.4 does not count them as 'self'."""
    try:
        host = request.get_host()
    except DisallowedHost:
        return ""
    return f" ws://{host} wss://{host}"
