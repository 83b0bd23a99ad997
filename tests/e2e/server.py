"""The project as its user runs it: `manage.py serve` in a process of its own, on a data folder of its own."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
READY = "Served by"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(data: Path, port: int, **settings: str) -> Iterator[str]:
    """The server's URL. What it wrote is in `data`/server.log."""
    environment = {
        **os.environ,
        "CHAT_ENV_FILE": "",
        "CHAT_DATA_DIR": str(data),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "PYTHONUNBUFFERED": "1",
        **settings,
    }
    log = data / "server.log"
    with subprocess.Popen(
        [sys.executable, "manage.py", "serve"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        ready = threading.Event()
        copier = threading.Thread(target=_copy, args=(process, log, ready), daemon=True)
        copier.start()
        try:
            if not ready.wait(60) or process.poll() is not None:
                raise RuntimeError(f"the server did not start:\n{log.read_text()}")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)
            copier.join(10)


def _copy(process: "subprocess.Popen[str]", log: Path, ready: threading.Event) -> None:
    assert process.stdout is not None
    with log.open("w") as file:
        for line in process.stdout:
            file.write(line)
            file.flush()
            if line.startswith(READY):
                ready.set()
    ready.set()
