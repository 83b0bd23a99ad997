"""What settings say together. Each check is silent with the defaults and speaks with the one combination it is for."""

import sqlite3
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings as project
from django.core.checks import run_checks
from pytest_django.fixtures import Settings

from chat import checks

POSTGRES = "django.db.backends.postgresql"
SQLITE = "django.db.backends.sqlite3"
REDIS = "redis://127.0.0.1:6379/0"


def found() -> set[str]:
    return {message.id or "" for message in run_checks() if (message.id or "").startswith("chat.")}


def test_the_defaults_are_fine() -> None:
    assert found() == set()


@pytest.mark.parametrize(
    "id_, database, changes",
    [
        ("chat.E001", SQLITE, {"ALLOWED_HOSTS": ["*"]}),
        ("chat.E002", POSTGRES, {"REDIS_URL": REDIS, "SECRET_KEY_GIVEN": False, "CHAT_GUESTS": False}),
        ("chat.E003", SQLITE, {"CHAT_TOTAL_TIMEOUT": 5.0}),
        ("chat.E004", SQLITE, {"CHAT_LEASE_SECONDS": 2.0}),
        ("chat.W001", SQLITE, {"REDIS_URL": REDIS, "SECRET_KEY_GIVEN": True, "CHAT_GUESTS": False}),
        ("chat.W002", POSTGRES, {"REDIS_URL": REDIS, "SECRET_KEY_GIVEN": True, "CHAT_GUESTS": True}),
    ],
)
def test_each_check_speaks_of_its_own_combination(
    id_: str, database: str, changes: dict[str, Any], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In place: Django warns of a test that sets DATABASES anew.
    monkeypatch.setitem(project.DATABASES["default"], "ENGINE", database)
    for name, value in changes.items():
        setattr(settings, name, value)
    assert found() == {id_}


class WithoutFts5(sqlite3.Connection):
    def execute(self, sql: str, *params: Any) -> sqlite3.Cursor:
        return super().execute(sql.replace("fts5", "fts_that_is_not_there"), *params)


@pytest.mark.parametrize(
    "version, connection", [((3, 34, 1), sqlite3.Connection), (sqlite3.sqlite_version_info, WithoutFts5)]
)
def test_a_sqlite_that_cannot_search_is_told(
    version: tuple[int, ...], connection: type[sqlite3.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = SimpleNamespace(
        sqlite_version="3.x",
        sqlite_version_info=version,
        connect=partial(sqlite3.connect, factory=connection),
        OperationalError=sqlite3.OperationalError,
    )
    monkeypatch.setattr(checks, "sqlite3", fake)
    assert found() == {"chat.E005"}
    monkeypatch.setitem(project.DATABASES["default"], "ENGINE", POSTGRES)
    assert found() == set()


def test_every_check_says_what_to_do(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    settings.REDIS_URL = REDIS
    settings.CHAT_LEASE_SECONDS = 1.0
    messages = [message for message in run_checks() if (message.id or "").startswith("chat.")]
    assert messages
    assert all(message.hint for message in messages)
