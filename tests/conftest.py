"""Fixtures for every test. The three people: Alice owns, Bob is another user, Charlie is a guest."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from django.contrib.auth.models import User
from django.core.cache import cache
from xdist.scheduler import LoadScopeScheduling

from chat.runs.engine import Engine
from chat.runs.owner import Owner
from tests.fakes import ScriptedProvider

# What starts deployments and loads of its own goes one after the other; `make test` runs all else beside it.
HEAVY = tuple(f"tests/{folder}/" for folder in ("bench", "deployment", "faults", "services", "tooling"))
# Those with limits on latency or cost come last of all, when nothing runs beside them any more.
MEASURING = tuple(
    f"tests/{place}"
    for place in ("bench/", "faults/test_database_load", "faults/test_load", "faults/test_redis", "faults/test_rolling")
)


def lane_of(nodeid: str) -> str:
    if nodeid.startswith(MEASURING):
        return "2 measuring"
    return "0 heavy" if nodeid.startswith(HEAVY) else "1 light"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: lane_of(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    class Lanes(LoadScopeScheduling):  # type: ignore[misc]
        """A lane is the work of one process, but for the light one: there a file is."""

        def _split_scope(self, nodeid: str) -> str:
            lane = lane_of(nodeid)
            return nodeid.split("::")[0] if lane == "1 light" else lane

    return Lanes(config, log)


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
