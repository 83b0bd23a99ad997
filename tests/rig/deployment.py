"""Two web processes and two workers (or as many as asked for) over a Postgres and a Redis of their own."""

import json
import shutil
import signal
import tempfile
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.rig.audit import PostgresStored
from tests.rig.postgres import OwnPostgres
from tests.rig.redis_server import OwnRedis
from tests.rig.workers import WorkerProcess
from tests.servers import ServerProcess, running
from tests.visitors import Visitor

LEASE_S = 4
DRAIN_S = 2


class Deployment:
    def __init__(self, postgres: OwnPostgres, redis: OwnRedis, upstream: str) -> None:
        self.postgres = postgres
        self.redis = redis
        self.upstream = upstream
        self.webs: list[ServerProcess] = []
        self.workers: list[WorkerProcess] = []

    @property
    def processes(self) -> list[ServerProcess]:
        return [*self.webs, *self.workers]

    @property
    def stored(self) -> PostgresStored:
        return PostgresStored(self.postgres.url)

    def visitor(self) -> Visitor:
        return Visitor(self.webs[0].port).sign_up()

    def urls(self) -> list[str]:
        return [web.ws for web in self.webs]

    def log_text(self) -> str:
        return "\n".join(process.log_text() for process in self.processes)

    def start_all(self) -> None:
        """All at once, which saves seconds."""
        with ThreadPoolExecutor(len(self.processes)) as pool:
            list(pool.map(lambda process: process.start(), self.processes))

    def revive(self) -> None:
        """Whatever a fault that was not survived left of it is up again."""
        for process in self.processes:
            if process.running():
                process.send(signal.SIGCONT)
            else:
                process.start()

    def upstream_stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.upstream.removesuffix('/v1')}/_stats", timeout=10) as response:
            found: dict[str, Any] = json.load(response)
            return found

    def worker_of(self, lease_owner: str) -> WorkerProcess:
        return next(worker for worker in self.workers if f":{worker.pid}:" in lease_owner)


@contextmanager
def deployment(
    upstream: str,
    *,
    webs: int = 2,
    workers: int = 2,
    kind: str = "uvicorn",
    postgres: OwnPostgres,
    redis: OwnRedis,
    database_url: str = "",
    redis_url: str = "",
    **env: str,
) -> Iterator[Deployment]:
    """`database_url`, `redis_url`: what the processes are given, where a Wire lies between them and the service."""
    whole = Deployment(postgres, redis, upstream)
    settings = {
        "DATABASE_URL": database_url or postgres.url,
        "REDIS_URL": redis_url or redis.url,
        "SECRET_KEY": "the same everywhere",
        "CHAT_LEASE_SECONDS": str(LEASE_S),
        "CHAT_DRAIN_SECONDS": str(DRAIN_S),
        **env,
    }
    folder = Path(tempfile.mkdtemp(prefix="tokenwire-deployment-"))
    whole.webs = [ServerProcess(kind, folder / f"web{number}", upstream, **settings) for number in range(webs)]
    whole.workers = [WorkerProcess(folder / f"worker{number}", upstream, **settings) for number in range(workers)]
    # Any of them takes a page of any other, as behind one proxy.
    origins = ",".join(web.origin for web in whole.webs)
    for process in whole.processes:
        process.env["ALLOWED_ORIGINS"] = origins
    try:
        with ExitStack() as stack:
            stack.enter_context(running(whole.processes[0]))  # migrates
            stack.enter_context(_started(whole.processes[1:]))
            yield whole
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _started(processes: list[ServerProcess]) -> Iterator[None]:
    """All at once, which saves seconds; and ended the same way."""
    stacks = [ExitStack() for _ in processes]
    with ThreadPoolExecutor(max(1, len(processes))) as pool:
        try:
            list(pool.map(lambda pair: pair[0].enter_context(running(pair[1])), zip(stacks, processes, strict=True)))
            yield
        finally:
            list(pool.map(ExitStack.close, stacks))
