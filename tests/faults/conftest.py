import os
from collections.abc import Iterator

import pytest

from tests.rig import OwnPostgres, OwnRedis
from tests.rig.service import MissingService
from tests.upstream import upstream_process


@pytest.fixture(scope="session")
def upstream() -> Iterator[str]:
    with upstream_process() as base_url:
        yield base_url


@pytest.fixture(scope="session")
def own_postgres() -> Iterator[OwnPostgres]:
    """Every test may restart or kill it, and leaves it running."""
    try:
        postgres = OwnPostgres()
    except MissingService as error:
        missing(error)
        return
    with postgres:
        yield postgres


@pytest.fixture(scope="session")
def own_redis() -> Iterator[OwnRedis]:
    """Every test may restart, flush or kill it, and leaves it running."""
    try:
        redis = OwnRedis()
    except MissingService as error:
        missing(error)
        return
    with redis:
        yield redis


def missing(error: MissingService) -> None:
    if os.environ.get("REQUIRE_SERVICES"):
        pytest.fail(str(error))
    pytest.skip(str(error))
