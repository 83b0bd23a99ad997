"""Processes that start together on an empty Postgres: one makes its tables and its admin, and all come up."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.servers import ServerProcess
from tests.services.conftest import fresh_database

pytestmark = pytest.mark.services


def test_three_first_starts_at_once_prepare_the_database_once(tmp_path: Path, upstream: str) -> None:
    with fresh_database() as url:
        servers = [ServerProcess("uvicorn", tmp_path / f"web{n}", upstream, DATABASE_URL=url) for n in range(3)]
        start_at_once(servers)
    logs = [server.log_text() for server in servers]
    assert sum("migrations applied" in log for log in logs) == 1
    assert sum("First admin" in log for log in logs) == 1


def start_at_once(servers: list[ServerProcess]) -> None:
    for server in servers:
        server.folder.mkdir()
    try:
        with ThreadPoolExecutor(len(servers)) as pool:
            list(pool.map(lambda server: server.start(), servers))
    finally:
        for server in servers:
            if server.running():
                server.stop()
