"""`manage.py serve` as a real process: what a newcomer reads on a good start, and on each kind of bad one."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.sync.client import connect
from websockets.typing import Origin

from chat.management import serving

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(folder: Path, **changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "VIRTUAL_ENV"}}
    fixed = {"CHAT_ENV_FILE": "", "CHAT_DATA_DIR": str(folder), "PORT": str(free_port())}
    return {**kept, "DJANGO_SETTINGS_MODULE": "config.settings", **fixed, **changes}


def start(env: dict[str, str], *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "manage.py", "serve", *flags]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=pipe, stderr=pipe, text=True)


def refused(env: dict[str, str], *flags: str) -> str:
    """The one line of a start that must fail."""
    process = start(env, *flags)
    out, err = process.communicate(timeout=START_SECONDS)
    assert process.returncode == 1, (out, err)
    assert err.count("\n") == 1, err
    return err.strip()


def fetch(port: str) -> int:
    """Status of the page, as soon as the port answers."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                return int(answer.status)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


@contextmanager
def served(env: dict[str, str], *flags: str) -> Iterator[subprocess.Popen[str]]:
    process = start(env, *flags)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def stop(process: subprocess.Popen[str], number: signal.Signals) -> tuple[str, str]:
    process.send_signal(number)
    return process.communicate(timeout=START_SECONDS)


@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
def test_it_works_from_an_empty_folder(tmp_path: Path, server: str) -> None:
    env = environment(tmp_path, SERVER=server)
    with served(env) as process:
        assert fetch(env["PORT"]) == 200
        out, err = stop(process, signal.SIGTERM)
    assert (process.returncode, err) == (0, "")
    place = f"127.0.0.1:{env['PORT']}"
    for line in (rf"Page +http://{place}/", rf"Admin +http://{place}/admin/", rf"WebSocket +ws://{place}/ws/chat/"):
        assert re.search(line + "$", out, re.MULTILINE), out
    assert re.search(r"^Model +offline demo", out, re.MULTILINE)
    assert re.search(r"^\|  user +admin +\|$", out, re.MULTILINE)
    assert re.search(r"^\|  password +[\w-]{16} +\|$", out, re.MULTILINE)
    assert out.endswith(f"Served by {server}; Ctrl-C ends it.\nStopped.\n")


def test_the_password_is_shown_once_and_a_second_start_serves_within_three_seconds(tmp_path: Path) -> None:
    env = environment(tmp_path)
    with served(env) as process:
        fetch(env["PORT"])
        first, _ = stop(process, signal.SIGTERM)
    began = time.monotonic()
    with served(env) as process:
        fetch(env["PORT"])
        seconds = time.monotonic() - began
        second, _ = stop(process, signal.SIGTERM)
    assert "password" in first
    assert "migrations applied" in first
    assert "password" not in second
    assert "migrations" not in second
    assert seconds < 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
def test_it_ends_cleanly_with_a_socket_open(tmp_path: Path, server: str, number: signal.Signals) -> None:
    # Daphne's own shutdown crashes the interpreter here: see serving.Daphne.
    env = environment(tmp_path, SERVER=server, CHAT_GUESTS="on")
    with served(env) as process:
        fetch(env["PORT"])
        origin = f"http://127.0.0.1:{env['PORT']}"
        with connect(f"ws://127.0.0.1:{env['PORT']}/ws/chat/", origin=Origin(origin)) as client:
            client.recv(timeout=START_SECONDS)
            out, err = stop(process, number)
    assert (process.returncode, err) == (0, "")
    assert out.endswith("\nStopped.\n")


def test_a_taken_port_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        line = refused(environment(tmp_path, PORT=str(port)))
    assert line == (
        f"CommandError: Port {port} is taken by another program. Choose another one: PORT={port + 1} make run"
    )
    assert not (tmp_path / "db.sqlite3").exists()


def test_flags_win_over_the_environment_and_reach_the_allowed_origins(tmp_path: Path) -> None:
    env = environment(tmp_path, CHAT_GUESTS="on")
    port = str(free_port())
    with served(env, "--port", port, "--server", "uvicorn") as process:
        assert fetch(port) == 200
        with connect(f"ws://127.0.0.1:{port}/ws/chat/", origin=Origin(f"http://127.0.0.1:{port}")) as client:
            assert "hello" in str(client.recv(timeout=START_SECONDS))
        out, _ = stop(process, signal.SIGTERM)
    assert f"http://127.0.0.1:{port}/\n" in out
    assert "Served by uvicorn" in out


def test_an_unknown_server_is_told_in_one_line(tmp_path: Path) -> None:
    line = refused(environment(tmp_path, SERVER="gunicorn"))
    assert line == "CommandError: SERVER=gunicorn is unknown: use daphne or uvicorn."


def test_a_host_of_another_machine_is_told_in_one_line(tmp_path: Path) -> None:
    # 192.0.2.0/24 is reserved for documentation: no machine has it.
    assert "Cannot listen on 192.0.2.1:" in refused(environment(tmp_path, HOST="192.0.2.1"))


def test_an_unwritable_database_folder_is_told_in_one_line(tmp_path: Path) -> None:
    # /proc refuses new files to everybody, also to root, for whom permission bits do not count.
    line = refused(environment(tmp_path, DATABASE_URL="sqlite:////proc/db.sqlite3"))
    assert line.startswith("CommandError: The database file /proc/db.sqlite3 cannot be used: ")


def test_an_unreachable_database_is_told_in_one_line_without_its_password(tmp_path: Path) -> None:
    url = f"postgres://someone:hunter2@127.0.0.1:{free_port()}/chat"
    line = refused(environment(tmp_path, DATABASE_URL=url))
    assert "does not answer" in line
    assert "Check DATABASE_URL." in line
    assert "hunter2" not in line


def test_an_address_open_to_other_machines_brings_a_reminder(tmp_path: Path) -> None:
    env = environment(tmp_path, HOST="0.0.0.0")
    with served(env) as process:
        fetch(env["PORT"])
        out, _ = stop(process, signal.SIGTERM)
    assert "Reachable from other machines." in out
    assert f"http://127.0.0.1:{env['PORT']}/\n" in out


def test_the_model_source_is_named_without_its_credentials(tmp_path: Path) -> None:
    env = environment(tmp_path, OPENAI_BASE_URL="http://user:hunter2@127.0.0.1:9/v1", CHAT_MODELS="tiny,large")
    with served(env) as process:
        fetch(env["PORT"])
        out, _ = stop(process, signal.SIGTERM)
    assert re.search(r"^Model +tiny, large from 127\.0\.0\.1:9$", out, re.MULTILINE)
    assert "hunter2" not in out


@pytest.mark.parametrize(
    ("host", "loopback", "shown"),
    [
        ("127.0.0.1", True, "127.0.0.1"),
        ("localhost", True, "localhost"),
        ("::1", True, "[::1]"),
        ("[::1]", True, "[::1]"),
        ("0.0.0.0", False, "127.0.0.1"),
        ("::", False, "[::1]"),
        ("chat.example.org", False, "chat.example.org"),
    ],
)
def test_hosts_are_shown_as_a_browser_can_open_them(host: str, loopback: bool, shown: str) -> None:
    assert serving.is_loopback(host) is loopback
    assert serving.browser_host(host) == shown
