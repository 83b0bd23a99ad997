"""Who is at the other end of a socket, decided from its handshake alone."""

from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.contrib.auth import get_user
from django.http import parse_cookie

from chat.protocol.errors import CloseCode
from chat.runs.owner import Owner

GUEST_KEY = "chat_guest"  # in the Django session of a guest


class Refused(Exception):
    """`code` None: the handshake itself is refused, with HTTP 403."""

    def __init__(self, reason: str, code: CloseCode | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


@dataclass(frozen=True)
class Visitor:
    owner: Owner
    name: str
    session_key: str | None  # of the Django session; None: a guest that lives as long as its socket

    @property
    def guest(self) -> bool:
        return self.owner.user is None


def check_origin(scope: dict[str, Any]) -> str | None:
    """The session cookie, if there is one that may be used. Raises Refused.

    A cookie is sent by the browser whichever site asked for the socket, so only the Origin tells our page from a
    stranger's. Without a cookie a missing Origin is a program, not a page, and carries nobody's authority.
    """
    origins = [value for name, value in scope["headers"] if name == b"origin"]
    cookies = b"; ".join(value for name, value in scope["headers"] if name == b"cookie")
    key = parse_cookie(cookies.decode("latin-1")).get(settings.SESSION_COOKIE_NAME)
    if any(name == b"authorization" for name, _ in scope["headers"]):
        raise Refused("API tokens are not known here; leave the Authorization header out.")
    if not origins and not key:
        return None
    if len(origins) != 1 or origins[0].decode("latin-1").lower() not in settings.ALLOWED_ORIGINS:
        raise Refused("The Origin is not on the list ALLOWED_ORIGINS.")
    return key


def identify(session_key: str | None) -> Visitor:
    """Queries the database. Raises Refused."""
    store = _session(session_key) if session_key else None
    if store is not None:
        user = _user(store)
        if user is not None:
            return Visitor(Owner(user=user.pk), user.get_username(), session_key)
    if not settings.CHAT_GUESTS:
        raise Refused("Sign in first.", CloseCode.SIGNED_OUT)
    if store is not None and (guest := store.get(GUEST_KEY)):
        return Visitor(Owner(guest=guest), "Guest", session_key)
    return Visitor(Owner(guest=uuid4().hex), "Guest", None)


def still_valid(visitor: Visitor) -> bool:
    """Whether the sign-in that opened the socket still stands. Queries the database."""
    if visitor.session_key is None:
        return True
    store = _session(visitor.session_key)
    if visitor.owner.user is None:
        return bool(store.get(GUEST_KEY) == visitor.owner.guest)
    user = _user(store)
    return user is not None and user.pk == visitor.owner.user


def _session(key: str) -> Any:
    return import_module(settings.SESSION_ENGINE).SessionStore(key)


def _user(store: Any) -> Any:
    """The signed-in user: active, and with the password that the session was opened with (get_user checks its hash)."""
    user = get_user(SimpleNamespace(session=store))  # type: ignore[arg-type]
    return user if user.is_authenticated and user.is_active else None
