"""The deployment: two web processes without workers and two workers, over a real Postgres and a real Redis."""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple, NoReturn
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import redis

from tests.rig.workers import WorkerProcess
from tests.servers import ServerProcess, running, running_server
from tests.upstream import upstream_process

POSTGRES = os.environ.get("TEST_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/postgres")
REDIS = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/9")


def missing(what: str, error: Exception) -> NoReturn:
    if os.environ.get("REQUIRE_SERVICES"):
        pytest.fail(f"{what} does not answer: {error}")
    pytest.skip(f"{what} does not answer")


@contextmanager
def fresh_database() -> Iterator[str]:
    """Its URL. Where there is no Postgres the test is skipped, or fails with REQUIRE_SERVICES."""
    name = f"tokenwire_test_{secrets.token_hex(4)}"
    try:
        admin = psycopg.connect(POSTGRES, autocommit=True, connect_timeout=3)
    except psycopg.OperationalError as error:
        missing("Postgres", error)
    with admin:
        admin.execute(f"CREATE DATABASE {name}")
        try:
            yield urlunsplit(urlsplit(POSTGRES)._replace(path=f"/{name}"))
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def database_url() -> Iterator[str]:
    with fresh_database() as url:
        yield url


@pytest.fixture(scope="session")
def redis_url() -> str:
    try:
        with redis.Redis.from_url(REDIS, socket_timeout=3) as client:
            client.ping()
    except (redis.RedisError, OSError) as error:
        missing("Redis", error)
    return REDIS


class Deployment(NamedTuple):
    webs: list[ServerProcess]
    workers: list[WorkerProcess]
    database_url: str


@pytest.fixture(scope="session")
def upstream() -> Iterator[str]:
    with upstream_process() as base_url:
        yield base_url


@pytest.fixture(scope="session")
def deployment(
    database_url: str, redis_url: str, upstream: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """A test that ends a process starts it again."""
    env = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "SECRET_KEY": "the same everywhere",
        "CHAT_LEASE_SECONDS": "4",
        "CHAT_DRAIN_SECONDS": "1",
    }
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("deployment")
        webs = [
            stack.enter_context(running_server("uvicorn", folder / name, upstream, **env)) for name in ("web1", "web2")
        ]
        workers = [WorkerProcess(folder / name, upstream, **env) for name in ("worker1", "worker2")]
        for worker in workers:
            stack.enter_context(running(worker))
        yield Deployment(webs, workers, database_url)
        for process in (*webs, *workers):
            # channels_redis logs its own lost connections with a traceback.
            for trouble in (" ERROR chat.", "never retrieved", "was destroyed"):
                assert trouble not in process.log_text(), process.log_text()[-6000:]


Query = Callable[..., list[tuple[object, ...]]]


@pytest.fixture
def query(database_url: str) -> Iterator[Query]:
    """Asks the database past the processes, as an auditor would."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield lambda sql, *params: connection.execute(sql, params).fetchall()
