"""Slows down guessing a password: so many tries a minute for one name from one address."""

import hashlib

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest

TRIES = 10
SECONDS = 60


class LoginThrottle:
    """A try is counted before the password is checked, so that a burst at one instant is no way around it.

    The count lives in Django's cache: per process with the default one, shared where a shared cache is set.
    """

    def __init__(self, username: str, address: str) -> None:
        who = hashlib.sha256(f"{username.casefold()}\0{address}".encode(errors="replace")).hexdigest()
        self._key = f"login:{who}"

    def allows_one_more(self) -> bool:
        cache.add(self._key, 0, SECONDS)
        try:
            return cache.incr(self._key) <= TRIES
        except ValueError:  # the minute ended between the two calls
            return True

    def forget(self) -> None:
        cache.delete(self._key)


def address_of(request: HttpRequest | None) -> str:
    """Behind a proxy all have the proxy's address: whoever guesses at a name would lock its owner out."""
    if request is None:
        return ""
    named = request.META.get("HTTP_X_REAL_IP", "") if settings.TRUST_PROXY else ""
    return str(named or request.META.get("REMOTE_ADDR", ""))
