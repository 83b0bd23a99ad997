"""The four servers under test, and the upstream that they all ask."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench import procs

ROOT = Path(__file__).resolve().parents[2]
MANY = "1000000"
SETTINGS = ("CHAT_", "OPENAI_", "DJANGO_", "DATABASE_URL", "REDIS_URL", "DEBUG")
ADDED = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "CHAT_ENV_FILE": "", "OPENAI_API_KEY": "bench"}


def clean_environment() -> dict[str, str]:
    """A run on a developer's machine must differ from one in CI in nothing: no settings of theirs, no key, no .env."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
    return {**kept, **ADDED, "NO_PROXY": "127.0.0.1"}


@dataclass(frozen=True)
class Server:
    key: str
    label: str
    greets: bool
    argv: tuple[str, ...]
    env: Mapping[str, str]


def servers() -> dict[str, Server]:
    found = (
        Server(
            "a",
            "an afternoon's consumer, daphne",
            False,
            ("-m", "daphne", "-b", "127.0.0.1", "-p", "{port}", "tests.bench.afternoon.asgi:application"),
            {"DJANGO_SETTINGS_MODULE": "tests.bench.afternoon.settings", "OPENAI_BASE_URL": "{upstream}"},
        ),
        _tokenwire("b", "uvicorn"),
        _tokenwire("c", "daphne"),
        Server(
            "d",
            "raw uvloop relay: the floor",
            False,
            ("-m", "tests.bench.relay", "--port", "{port}", "--upstream", "{upstream}"),
            {},
        ),
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
    return Server(key, f"Tokenwire on {server}", True, ("manage.py", "serve"), env)


def start(server: Server, upstream: str, folder: Path, core: int) -> procs.Process:
    home = folder / server.key
    home.mkdir()
    port = procs.free_port()

    def filled(text: str) -> str:
        return text.replace("{port}", str(port)).replace("{upstream}", upstream).replace("{folder}", str(home))

    argv = [sys.executable, *map(filled, server.argv)]
    env = {**clean_environment(), **{name: filled(value) for name, value in server.env.items()}}
    return procs.start(server.key, argv, port, env, home, core)


def start_upstream(folder: Path, core: int) -> procs.Process:
    port = procs.free_port()
    argv = [sys.executable, "-m", "tests.upstream", "--port", str(port)]
    return procs.start("upstream", argv, port, clean_environment(), folder, core)


def base_url(upstream: procs.Process) -> str:
    return f"http://127.0.0.1:{upstream.port}/v1"
