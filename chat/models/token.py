import hashlib
import secrets
from datetime import datetime
from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from chat.models.ids import new_id

PREFIX = "tw_"
SHOWN_CHARS = 8


class ApiToken(models.Model):
    """What a program signs in with, as its user. Only a digest of the secret is kept: it can be shown once.

    The secret has 256 random bits, so there is nothing to guess and a fast hash is enough (no salt, no stretching).
    """

    class Scope(models.TextChoices):
        READ = "read", "read only"
        WRITE = "write", "read and write"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="chat_tokens", db_index=False)
    name = models.CharField(max_length=100)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    shown = models.CharField(max_length=16, editable=False, help_text="Its first characters, to tell it by.")
    scope = models.CharField(max_length=5, choices=Scope, default=Scope.WRITE)
    created = models.DateTimeField(auto_now_add=True)
    expires = models.DateTimeField(null=True, blank=True)
    last_used = models.DateTimeField(null=True, blank=True, editable=False, help_text="To the minute.")

    class Meta:
        verbose_name = "API token"
        indexes = [models.Index(fields=["user", "-created"], name="apitoken_of_user")]

    def __str__(self) -> str:
        return f"{self.name} ({self.shown}…)"

    @classmethod
    def make(cls, user: int, name: str, scope: str, expires: datetime | None = None) -> tuple[Self, str]:
        """The unsaved token and its secret, which exists nowhere else."""
        secret = PREFIX + secrets.token_urlsafe(32)
        shown = secret[: len(PREFIX) + SHOWN_CHARS]
        return cls(user_id=user, name=name, scope=scope, expires=expires, digest=digest(secret), shown=shown), secret

    @staticmethod
    def valid() -> "models.QuerySet[ApiToken]":
        """Those not expired, by the database's clock, of users that are active."""
        return ApiToken.objects.filter(Q(expires=None) | Q(expires__gt=Now()), user__is_active=True)


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
