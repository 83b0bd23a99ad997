"""The real server process, `manage.py serve`, on daphne or uvicorn: started, killed and started again on its data."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("daphne", "uvicorn")
API_KEY = "sk-canary-8d1f0a"
START_S = 30.0
STOP_S = 10.0

# None of the developer's own settings may reach the server under test.
SETTINGS = ("CHAT_", "DJANGO_", "DATABASE_URL", "REDIS_URL", "ALLOWED_", "SECRET_KEY", "DEBUG", "LOG_LEVEL")
# As few limits as the settings allow: the tests of limits set their own.
DEFAULTS = {
    "CHAT_ENV_FILE": "",
    "OPENAI_API_KEY": API_KEY,
    "CHAT_MODELS": "test-model,test-small",
    "CHAT_AUTO_TITLE": "off",
    "CHAT_GUESTS": "on",
    "CHAT_SIGN_UP": "on",
    "CHAT_PROMPTS_PER_MINUTE": "100000",
    "CHAT_RUNS_PER_USER": "1000",
    "CHAT_OPERATIONS_PER_SECOND": "10000",
    "CHAT_SOCKETS_PER_USER": "1000",
    "NO_PROXY": "127.0.0.1",
    "PYTHONUNBUFFERED": "1",
    "PYTHONWARNINGS": "default",
}


class StartError(Exception):
    """The process ended, or did not listen in time; the message ends with its log."""


class ServerProcess:
    """`folder` keeps database and log; the port stays the same over restarts, as clients that come back expect."""

    command: tuple[str, ...] = ("manage.py", "serve")

    def __init__(self, kind: str, folder: Path, upstream: str, **env: str) -> None:
        self.kind = kind
        self.folder = folder
        self.port = free_port()
        self.log = folder / "server.log"
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)},
            **DEFAULTS,
            "SERVER": kind,
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "CHAT_DATA_DIR": str(folder),
            "OPENAI_BASE_URL": upstream,
            **env,
        }
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws/chat/"

    @property
    def database(self) -> Path:
        return self.folder / "db.sqlite3"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def launch(self) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, *self.command],
                cwd=ROOT,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start(self) -> None:
        self.process = self.launch()
        try:
            self._wait_until_up()
        except BaseException:
            self.kill()
            raise

    def _wait_until_up(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise StartError(f"exit {self.process.returncode}: {self.log_text()[-2000:]}")
            if self.is_up():
                return
            time.sleep(0.03)
        raise StartError(f"not up after {START_S:.0f} s: {self.log_text()[-2000:]}")

    def is_up(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        """kill -9: what a crash or a power cut leaves behind."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def exit_code(self) -> int | None:
        return self.process.returncode if self.process is not None else None

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; the exit code. Raises subprocess.TimeoutExpired after STOP_S."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(STOP_S)

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def rss_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def running_server(kind: str, folder: Path, upstream: str, **env: str) -> Iterator[ServerProcess]:
    with running(ServerProcess(kind, folder, upstream, **env)) as server:
        yield server


Process = TypeVar("Process", bound=ServerProcess)


@contextmanager
def running(server: Process) -> Iterator[Process]:
    server.folder.mkdir(parents=True, exist_ok=True)
    server.start()
    try:
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            try:
                server.stop()
            except subprocess.TimeoutExpired:
                server.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
