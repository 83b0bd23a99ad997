"""Who is at the other end of a socket or request, decided from its headers alone."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from types import SimpleNamespace
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib.auth import get_user
from django.http import parse_cookie
from django.utils import timezone

from chat.models import ApiToken
from chat.models.token import digest
from chat.protocol.errors import ChatError, CloseCode
from chat.runs.owner import Owner

GUEST_KEY = "chat_guest"  # in the Django session of a guest
BEARER = "bearer "
# A write for each request would cost more than the request.
LAST_USED_EVERY = timedelta(minutes=1)


class Refused(Exception):
    """`code` None: the handshake itself is refused, with HTTP 403."""

    def __init__(self, reason: str, code: CloseCode | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class Credentials(NamedTuple):
    """At most one of the two: whoever sends a token is not asked for a cookie."""

    session_key: str | None = None
    token: str | None = None


@dataclass(frozen=True)
class Visitor:
    owner: Owner
    name: str
    session_key: str | None = None  # of the Django session
    token: UUID | None = None  # neither: a guest that lives as long as its socket
    may_write: bool = True

    @property
    def guest(self) -> bool:
        return self.owner.user is None

    def check_may_write(self) -> None:
        """Raises ChatError: forbidden."""
        if not self.may_write:
            raise ChatError("forbidden", "This API token may only read. Use one with the scope `write`.")


def check_origin(scope: dict[str, Any]) -> Credentials:
    """What the handshake may be identified by. Raises Refused.

    A cookie is sent by the browser whichever site asked for the socket, so only the Origin tells our page from a
    stranger's. Without a cookie a missing Origin is a program, not a page, and carries nobody's authority. A token is
    sent by nobody but who has it, so with one the Origin says nothing.
    """
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    origins = [value for name, value in headers if name == b"origin"]
    authorizations = [value for name, value in headers if name == b"authorization"]
    if authorizations:
        token = bearer(authorizations[0].decode("latin-1")) if len(authorizations) == 1 else None
        if token is None:
            raise Refused("The Authorization header is not `Bearer <API token>`.")
        return Credentials(token=token)
    cookies = b"; ".join(value for name, value in headers if name == b"cookie")
    key = parse_cookie(cookies.decode("latin-1")).get(settings.SESSION_COOKIE_NAME)
    if not origins and not key:
        return Credentials()
    if len(origins) != 1 or origins[0].decode("latin-1").lower() not in settings.ALLOWED_ORIGINS:
        raise Refused("The Origin is not on the list ALLOWED_ORIGINS.")
    return Credentials(session_key=key)


def bearer(authorization: str) -> str | None:
    """The token of an Authorization header; None if it holds something else."""
    scheme, token = authorization[: len(BEARER)], authorization[len(BEARER) :].strip()
    return token if scheme.lower() == BEARER and token else None


def identify(credentials: Credentials) -> Visitor:
    """Queries the database. Raises Refused."""
    if credentials.token is not None:
        return _of_token(credentials.token)
    key = credentials.session_key
    store = _session(key) if key else None
    if store is not None:
        user = _user(store)
        if user is not None:
            return Visitor(Owner(user=user.pk), user.get_username(), key)
    if not settings.CHAT_GUESTS:
        raise Refused("Sign in first.", CloseCode.SIGNED_OUT)
    if store is not None and (guest := store.get(GUEST_KEY)):
        return Visitor(Owner(guest=guest), "Guest", key)
    return Visitor(Owner(guest=uuid4().hex), "Guest")


def _of_token(secret: str) -> Visitor:
    found = ApiToken.valid().filter(digest=digest(secret)).select_related("user").first()
    if found is None:
        raise Refused("This API token is not known, was revoked or has expired.")
    now = timezone.now()
    if found.last_used is None or found.last_used < now - LAST_USED_EVERY:
        ApiToken.objects.filter(id=found.id).update(last_used=now)
    owner = Owner(user=found.user_id)
    may_write = found.scope == ApiToken.Scope.WRITE
    return Visitor(owner, found.user.get_username(), token=found.id, may_write=may_write)


def still_valid(visitor: Visitor) -> bool:
    """Whether the sign-in that opened the socket still stands. Queries the database."""
    if visitor.token is not None:
        return ApiToken.valid().filter(id=visitor.token).exists()
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
