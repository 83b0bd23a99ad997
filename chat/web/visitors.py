"""Who looks at the page: a user, or a guest known by a secret in its cookie session."""

import secrets

from django.conf import settings
from django.http import HttpRequest

from chat.runs.owner import Owner
from chat.transports.access import GUEST_KEY


def owner_of(request: HttpRequest) -> Owner | None:
    """None: the visitor must sign in first. A guest without an id gets one here, so this sets a cookie."""
    if request.user.is_authenticated:
        return Owner(user=request.user.pk)
    if not settings.CHAT_GUESTS:
        return None
    guest = request.session.get(GUEST_KEY)
    if not guest:
        guest = request.session[GUEST_KEY] = secrets.token_urlsafe(24)
    return Owner(guest=guest)
