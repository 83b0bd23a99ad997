"""The processes of docker-compose.yml without containers: its commands, its environment, its checks, its proxy."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.deployment import compose
from tests.servers import DEFAULTS, ROOT, ServerProcess, running
from tests.services.nginx import Nginx, required

WEBS = ("web1", "web2")
WORKERS = ("worker1", "worker2")


class Places(NamedTuple):
    """Where what the compose file names is here."""

    database_url: str
    redis_url: str
    upstream: str
    folder: Path

    def environment(self, service: compose.Service, dotenv: Mapping[str, str]) -> dict[str, str]:
        env = compose.environment(service, dotenv)
        assert "@postgres:5432/" in env["DATABASE_URL"]
        assert env["REDIS_URL"].startswith("redis://redis:6379/")
        assert env["HOST"] == "0.0.0.0"
        here = {"DATABASE_URL": self.database_url, "REDIS_URL": self.redis_url, "HOST": "127.0.0.1"}
        return {**env, **here}


class Composed(ServerProcess):
    """A process whose command, environment and check are those of the compose file."""

    def __init__(self, name: str, places: Places, service: compose.Service, dotenv: Mapping[str, str]) -> None:
        folder = places.folder / name
        env = places.environment(service, dotenv) | {"CHAT_DATA_DIR": str(folder)}
        super().__init__("uvicorn", folder, places.upstream, **env)
        self.env["PORT"] = str(self.port)
        self.service = service
        self.command = self.words(service["command"])

    def words(self, command: list[str]) -> tuple[str, ...]:
        assert command[0] == "python"
        return tuple(word.replace("/tmp/", f"{self.folder}/") for word in command[1:])

    def is_up(self) -> bool:
        """As `docker compose up --wait` waits."""
        test = self.words(self.service["healthcheck"]["test"][1:])
        ended = subprocess.run([sys.executable, *test], cwd=ROOT, env=self.env, capture_output=True, check=False)
        return ended.returncode == 0


class Composition(NamedTuple):
    nginx: Nginx
    webs: list[Composed]
    workers: list[Composed]
    prepared: str  # what `migrate` printed


@contextmanager
def composition(places: Places, **dotenv: str) -> Iterator[Composition]:
    required()
    nginx = Nginx(places.folder / "nginx", [])
    # What would stand in .env.
    given = {**compose.LEAST, **DEFAULTS, "PORT": str(nginx.port), **dotenv}
    services = compose.services(given)
    webs, workers = ([Composed(name, places, services[name], given) for name in names] for names in (WEBS, WORKERS))
    nginx.webs = [web.port for web in webs]
    with ExitStack() as stack:
        prepared = migrate(services["migrate"], webs[0])
        for process in (*webs, *workers):
            stack.enter_context(running(process))
        yield Composition(stack.enter_context(running(nginx)), webs, workers, prepared)


def migrate(service: compose.Service, like: Composed) -> str:
    like.folder.mkdir(parents=True)
    command = [sys.executable, *like.words(service["command"])]
    ended = subprocess.run(command, cwd=ROOT, env=like.env, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
