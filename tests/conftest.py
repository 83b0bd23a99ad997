"""Fixtures for every test. The three people: Alice owns, Bob is another user, Charlie is a guest."""

import os
import tempfile
from collections.abc import AsyncIterator

# Before the settings are read: no test may see a developer's key or data.
os.environ["CHAT_ENV_FILE"] = ""
os.environ["CHAT_DATA_DIR"] = tempfile.mkdtemp(prefix="tokenwire-tests-")
for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "DATABASE_URL", "REDIS_URL", "CHAT_MODELS"):
    os.environ.pop(name, None)

import pytest
import pytest_asyncio
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.core.cache import cache

from chat.runs.engine import Engine
from chat.runs.owner import Owner
from tests.fakes import ScriptedProvider

# pytest-django reads the settings before any conftest: too early for the lines above, so what matters is set again.
django_settings.OPENAI_API_KEY = django_settings.OPENAI_BASE_URL = ""
if "sqlite" in django_settings.DATABASES["default"]["ENGINE"]:
    # Of this process alone: two test runs at once must not share a database.
    django_settings.DATABASES["default"]["TEST"]["NAME"] = f"{os.environ['CHAT_DATA_DIR']}/test.sqlite3"


@pytest.fixture(autouse=True)
def quick_passwords(settings: pytest.FixtureRequest) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # type: ignore[attr-defined]
    cache.clear()


@pytest.fixture
def provider() -> ScriptedProvider:
    return ScriptedProvider("Hel", "lo ", "wor", "ld")


@pytest_asyncio.fixture
async def engine(transactional_db: None, provider: ScriptedProvider) -> AsyncIterator[Engine]:
    engine = Engine(provider)
    await engine.open()
    yield engine
    await engine.close()


@pytest.fixture
def alice_user(transactional_db: None) -> User:
    return User.objects.create_user("alice", password="wonderland")


@pytest.fixture
def bob_user(transactional_db: None) -> User:
    return User.objects.create_user("bob", password="builder")


@pytest.fixture
def alice(alice_user: User) -> Owner:
    return Owner(user=alice_user.pk)


@pytest.fixture
def bob(bob_user: User) -> Owner:
    return Owner(user=bob_user.pk)


@pytest.fixture
def charlie() -> Owner:
    return Owner(guest="charlie")


