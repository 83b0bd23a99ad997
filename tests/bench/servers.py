"""The servers under test, one process each or a whole deployment, and the upstream that they all ask."""

import contextlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench import procs
from tests.rig import OwnPostgres, OwnRedis

ROOT = Path(__file__).resolve().parents[2]
MANY = "1000000"
SETTINGS = ("CHAT_", "OPENAI_", "DJANGO_", "DATABASE_URL", "REDIS_URL", "DEBUG")
ADDED = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "CHAT_ENV_FILE": "", "OPENAI_API_KEY": "bench"}


def clean_environment() -> dict[str, str]:
    """A run on a developer's machine must differ from one in CI in nothing: no settings of theirs, no key, no .env."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
    return {**kept, **ADDED, "NO_PROXY": "127.0.0.1"}


SERVE, WORK = ("manage.py", "serve"), ("manage.py", "chatworker")


@dataclass(frozen=True)
class Server:
    """`processes`: their command lines; those of a deployment run on all cores, beside its Postgres and Redis."""

    key: str
    label: str
    greets: bool
    processes: tuple[tuple[str, ...], ...]
    env: Mapping[str, str]
    deployed: bool = False


def servers() -> dict[str, Server]:
    found = (
        Server(
            "a",
            "an afternoon's consumer, daphne",
            False,
            (("-m", "daphne", "-b", "127.0.0.1", "-p", "{port}", "tests.bench.afternoon.asgi:application"),),
            {"DJANGO_SETTINGS_MODULE": "tests.bench.afternoon.settings", "OPENAI_BASE_URL": "{upstream}"},
        ),
        _tokenwire("b", "uvicorn"),
        _tokenwire("c", "daphne"),
        Server(
            "d",
            "raw uvloop relay: the floor",
            False,
            (("-m", "tests.bench.relay", "--port", "{port}", "--upstream", "{upstream}"),),
            {},
        ),
        _deployment("e"),
    )
    return {server.key: server for server in found}


def _tokenwire(key: str, server: str) -> Server:
    env = {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "SERVER": server,
        "HOST": "127.0.0.1",
        "PORT": "{port}",
        "ALLOWED_HOSTS": "127.0.0.1",
        "SECRET_KEY": "bench",
        "CHAT_DATA_DIR": "{folder}",
        "OPENAI_BASE_URL": "{upstream}",
        "CHAT_MODELS": "bench",
        "CHAT_AUTO_TITLE": "off",
        "CHAT_GUESTS": "on",
        "CHAT_RUNS_PER_USER": MANY,
        "CHAT_PROMPTS_PER_MINUTE": MANY,
        "CHAT_SOCKETS_PER_USER": MANY,
        "LOG_LEVEL": "WARNING",
    }
    return Server(key, f"Tokenwire on {server}", True, (SERVE,), env)


def _deployment(key: str) -> Server:
    env = {**_tokenwire(key, "uvicorn").env, "DATABASE_URL": "{postgres}", "REDIS_URL": "{redis}", "CHAT_SIGN_UP": "on"}
    return Server(key, "2 web, 2 workers, Postgres, Redis", True, (SERVE, SERVE, WORK, WORK), env, deployed=True)


def start(server: Server, upstream: str, folder: Path, core: int, stack: contextlib.ExitStack) -> list[procs.Process]:
    """Raises procs.StartError, and MissingService where a deployment's services are not installed."""
    home = folder / server.key
    home.mkdir()
    known = {"upstream": upstream, "folder": str(home)}
    if server.deployed:
        known |= _services(stack)
    started = []
    for number, command in enumerate(server.processes):
        known["port"] = str(procs.free_port())
        argv = [sys.executable, *(word.format_map(known) for word in command)]
        env = {**clean_environment(), **{name: value.format_map(known) for name, value in server.env.items()}}
        port = None if command == WORK else int(known["port"])
        cores = procs.all_cores() if server.deployed else [core]
        process = procs.start(f"{server.key}{number}", argv, port, env, home, cores)
        stack.callback(procs.stop, process)
        started.append(process)
    return started


def _services(stack: contextlib.ExitStack) -> dict[str, str]:
    postgres, redis = stack.enter_context(OwnPostgres()), stack.enter_context(OwnRedis())
    for service in (postgres, redis):
        assert service.process is not None
        procs.spread(service.process.pid)
    return {"postgres": postgres.url, "redis": redis.url}


def start_upstream(folder: Path, core: int) -> procs.Process:
    port = procs.free_port()
    argv = [sys.executable, "-m", "tests.upstream", "--port", str(port)]
    return procs.start("upstream", argv, port, clean_environment(), folder, [core])


def base_url(upstream: procs.Process) -> str:
    return f"http://127.0.0.1:{upstream.port}/v1"
