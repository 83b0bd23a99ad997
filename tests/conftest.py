"""Fixtures for every test. The three people: Alice owns, Bob is another user, Charlie is a guest."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from django.contrib.auth.models import User
from django.core.cache import cache

from chat.runs.engine import Engine
from chat.runs.owner import Owner
from tests.fakes import ScriptedProvider

TESTS = Path(__file__).parent
# What starts deployments and loads of its own goes one after the other; `make test` runs all else beside it.
HEAVY = {"bench", "deployment", "faults", "services", "tooling"}
# Those with limits on latency or cost come last of all, when nothing runs beside them any more.
MEASURING = ("faults/test_database_load", "faults/test_load", "faults/test_redis", "faults/test_rolling", "bench/")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    lanes: dict[str, list[pytest.Item]] = {"heavy": [], "light": [], "measuring": []}
    for item in items:
        place = item.path.relative_to(TESTS).as_posix()
        lane = "measuring" if place.startswith(MEASURING) else "heavy" if place.split("/")[0] in HEAVY else "light"
        lanes[lane].append(item)
        if lane != "light" and config.pluginmanager.hasplugin("xdist"):
            item.add_marker(pytest.mark.xdist_group(lane))
    items[:] = [item for lane in lanes.values() for item in lane]


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
