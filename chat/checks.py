"""What settings say together that none says alone. Each has an id; docs/errors.md and a test name them all."""

import sqlite3
from contextlib import closing
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register


@register(Tags.security)
def check_hosts(**_: Any) -> list[CheckMessage]:
    if "*" in list(settings.ALLOWED_HOSTS) and not settings.DEBUG:
        return [
            Error(
                'ALLOWED_HOSTS is "*".',
                hint="Name the hosts that this server answers for, for example chat.example.org.",
                id="chat.E001",
            )
        ]
    return []


@register()
def check_shared_storage(**_: Any) -> list[CheckMessage]:
    if settings.REDIS_URL and "sqlite" in settings.DATABASES["default"]["ENGINE"]:
        return [
            checks.Warning(
                "REDIS_URL is set, but the database is SQLite.",
                hint="Several machines need DATABASE_URL=postgres://…; a single one needs no Redis.",
                id="chat.W001",
            )
        ]
    return []


@register()
def check_secret_key(**_: Any) -> list[CheckMessage]:
    if settings.REDIS_URL and not settings.SECRET_KEY_GIVEN:
        return [
            Error(
                "REDIS_URL is set, but SECRET_KEY is not.",
                hint="Processes must share one key, or each refuses the others' sign-ins. Set SECRET_KEY everywhere.",
                id="chat.E002",
            )
        ]
    return []


@register()
def check_sign_in(**_: Any) -> list[CheckMessage]:
    if settings.CHAT_GUESTS and not settings.DEBUG and settings.REDIS_URL:
        return [
            checks.Warning(
                "CHAT_GUESTS is on in a deployment: anybody may spend your model's tokens.",
                hint="Set CHAT_GUESTS=off, or limit guests in the proxy in front.",
                id="chat.W002",
            )
        ]
    return []


@register()
def check_timeouts(**_: Any) -> list[CheckMessage]:
    limits = (settings.CHAT_CONNECT_TIMEOUT, settings.CHAT_FIRST_TOKEN_TIMEOUT, settings.CHAT_IDLE_TIMEOUT)
    if max(limits) > settings.CHAT_TOTAL_TIMEOUT:
        return [
            Error(
                "CHAT_TOTAL_TIMEOUT is shorter than one of the timeouts within it.",
                hint="Raise it above CHAT_CONNECT_TIMEOUT, CHAT_FIRST_TOKEN_TIMEOUT and CHAT_IDLE_TIMEOUT.",
                id="chat.E003",
            )
        ]
    return []


@register()
def check_lease(**_: Any) -> list[CheckMessage]:
    if settings.CHAT_LEASE_SECONDS < 3:
        return [
            Error(
                "CHAT_LEASE_SECONDS is below 3.",
                hint="Leases are renewed once a second: a shorter one is lost at the first hiccup. The default is 10.",
                id="chat.E004",
            )
        ]
    return []


@register()
def check_full_text(**_: Any) -> list[CheckMessage]:
    if "sqlite" in settings.DATABASES["default"]["ENGINE"] and not _has_full_text():
        return [
            Error(
                f"This Python's SQLite ({sqlite3.sqlite_version}) cannot search: that needs 3.35 or newer with FTS5.",
                hint="Take a Python that is linked to such a SQLite, as that of python.org or Debian, or use Postgres.",
                id="chat.E005",
            )
        ]
    return []


def _has_full_text() -> bool:
    if sqlite3.sqlite_version_info < (3, 35):
        return False
    with closing(sqlite3.connect(":memory:")) as connection:
        try:
            connection.execute("CREATE VIRTUAL TABLE searched USING fts5 (text)")
        except sqlite3.OperationalError:
            return False
    return True
