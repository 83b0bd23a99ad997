"""Runs one function of a module in a process whose database is Postgres: the suite's own is SQLite."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.servers import SETTINGS

ROOT = Path(__file__).resolve().parents[2]
BEGIN = "import django, json, sys; django.setup(); from importlib import import_module as load; "
CALL = "print(json.dumps(getattr(load(sys.argv[1]), sys.argv[2])(*sys.argv[3:])))"


def begin(database_url: str, folder: Path, function: Any, *arguments: str) -> "subprocess.Popen[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
    environment |= {
        "CHAT_ENV_FILE": "",
        "CHAT_DATA_DIR": str(folder),
        "DATABASE_URL": database_url,
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }
    command = [sys.executable, "-c", BEGIN + CALL, function.__module__, function.__name__, *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def result(process: "subprocess.Popen[str]", seconds: float = 60) -> Any:
    out, err = process.communicate(timeout=seconds)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def on_postgres(database_url: str, folder: Path, function: Any, *arguments: str) -> Any:
    """What it returns; its arguments are words, its result is JSON."""
    return result(begin(database_url, folder, function, *arguments))
