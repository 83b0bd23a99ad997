"""Settings as a start reads them: in a process of their own, from an environment of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def start(folder: Path, shown: str = "None", **env: str) -> subprocess.CompletedProcess[str]:
    """`shown`: an expression over `settings`, printed as JSON."""
    code = f"import json; from config import settings; print(json.dumps({shown}))"
    environment = os.environ | {"CHAT_ENV_FILE": "", "CHAT_DATA_DIR": str(folder)} | env
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    "name, value",
    [
        ("PORT", "70000"),
        ("DEBUG", "maybe"),
        ("CHAT_IDLE_TIMEOUT", "nan"),
        ("OPENAI_BASE_URL", "localhost:11434"),
        ("ALLOWED_ORIGINS", "https://*.example.org"),
        ("LOG_LEVEL", "loud"),
        ("TIME_ZONE", "Mars/Olympus"),
    ],
)
def test_a_wrong_value_stops_the_start_and_is_named(name: str, value: str, tmp_path: Path) -> None:
    ended = start(tmp_path, **{name: value})
    assert ended.returncode != 0
    assert f"ImproperlyConfigured: {name}='{value}' is not valid" in ended.stderr.splitlines()[-1]


def test_a_broken_database_url_is_told_without_its_password(tmp_path: Path) -> None:
    ended = start(tmp_path, DATABASE_URL="mysql://chat:hunter2@host/name")
    assert ended.stderr.splitlines()[-1].endswith(
        "DATABASE_URL is not valid: expected sqlite:///path or postgres://user:password@host/name."
    )
    assert "hunter2" not in ended.stderr


def test_what_a_database_url_asks_for_goes_before_our_own_options(tmp_path: Path) -> None:
    url = "postgres://h/db?sslmode=require&connect_timeout=9"
    shown = start(tmp_path, "settings.DATABASES['default']['OPTIONS']", DATABASE_URL=url)
    options = json.loads(shown.stdout)
    assert (options["sslmode"], options["connect_timeout"]) == ("require", 9)
    assert options["tcp_user_timeout"] == 5000
