"""The API tokens of a user: listed, made and revoked. A guest has none: it has nothing to sign in as."""

from datetime import timedelta
from uuid import UUID

from django.utils import timezone

from chat.models import ApiToken
from chat.protocol.errors import ChatError
from chat.runs.owner import Owner, not_found

MOST = 100
MOST_DAYS = 3650
NAME_CHARS = 100


def listed(owner: Owner) -> list[ApiToken]:
    """Newest first. Raises ChatError."""
    return list(ApiToken.objects.filter(user=_user(owner)).order_by("-created", "-id"))


def create(owner: Owner, name: str, scope: str, days: int | None) -> tuple[ApiToken, str]:
    """The token and its secret, which can never be had again. `days` None: until it is revoked. Raises ChatError."""
    user = _user(owner)
    if ApiToken.objects.filter(user=user).count() >= MOST:
        raise ChatError("conflict", f"You have {MOST} API tokens already. Revoke one that is no longer used.")
    expires = None if days is None else timezone.now() + timedelta(days=days)
    token, secret = ApiToken.make(user, name, scope, expires)
    token.save(force_insert=True)
    return token, secret


def revoke(owner: Owner, id_: UUID) -> None:
    """Its sockets and streams are closed, by a signal of the deletion. Raises ChatError."""
    token = ApiToken.objects.filter(user=_user(owner), id=id_).first()
    if token is None:
        raise not_found("API token")
    token.delete()


def _user(owner: Owner) -> int:
    if owner.user is None:
        raise ChatError("forbidden", "API tokens belong to an account. Sign in first.")
    return owner.user
