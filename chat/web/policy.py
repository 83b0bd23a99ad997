"""The Content-Security-Policy of every page, the admin's too: nothing inline runs without this response's nonce."""

import secrets

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from chat.transports.middleware import Middleware


class ContentSecurityPolicy(Middleware):
    """Sets `request.csp_nonce`."""

    def before(self, request: HttpRequest) -> None:
        request.csp_nonce = secrets.token_urlsafe(16)  # type: ignore[attr-defined]

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        return protect(request, response, request.csp_nonce)  # type: ignore[attr-defined]


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
