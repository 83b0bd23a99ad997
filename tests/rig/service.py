"""A service process of our own: started, stopped and killed as often as a fault wants it, on one port."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from tests.servers import free_port

START_S = 20.0
STOP_S = 20.0


class MissingService(Exception):
    """Its program is not installed on this machine."""


class OwnService(ABC):
    """`folder` is its data, kept over restarts. Use it as a context manager."""

    user = ""  # whom to become when we are root

    def __init__(self) -> None:
        self.port = free_port()
        # Not below pytest's folders, which another user may not enter.
        self.folder = Path(tempfile.mkdtemp(prefix=f"tokenwire-{type(self).__name__.lower()}-"))
        self.log = self.folder / "service.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str: ...

    @abstractmethod
    def command(self) -> list[str]: ...

    @abstractmethod
    def answers(self) -> bool: ...

    def __enter__(self) -> Self:
        try:
            if self._as_user():
                shutil.chown(self.folder, self.user, self.user)
            self.prepare()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def prepare(self) -> None:  # noqa: B027  most have nothing to do
        """What is done once, before the first start."""

    def start(self) -> None:
        """Returns when it answers. Right after a kill -9 the first tries may fail: what it left is still going away."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                with self.log.open("ab") as output:
                    self.process = subprocess.Popen(
                        self.command(), stdout=output, stderr=output, stdin=subprocess.DEVNULL, **self._as_user()
                    )
            if self.answers():
                return
            time.sleep(0.05)
        raise TimeoutError(f"{self.command()[0]} does not answer: {self.log.read_text()[-2000:]}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(STOP_S)

    def kill(self) -> None:
        """kill -9, of its children as well: what a power cut leaves behind."""
        if self.process is None:
            return
        children = _children(self.process.pid)
        self.process.kill()
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self.process.wait()

    def freeze(self) -> None:
        """Takes connections and answers nothing, until `thaw`."""
        assert self.process is not None
        _signal_all(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        _signal_all(self.process.pid, signal.SIGCONT)

    def run(self, *command: str) -> None:
        subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL, **self._as_user())

    def _as_user(self) -> dict[str, Any]:
        if not self.user or os.getuid() != 0:
            return {}
        return {"user": self.user, "group": pwd.getpwnam(self.user).pw_gid, "extra_groups": [], "cwd": self.folder}


def _signal_all(pid: int, number: signal.Signals) -> None:
    os.kill(pid, number)
    for child in _children(pid):
        with suppress(ProcessLookupError):  # it ended since they were listed
            os.kill(child, number)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def program(name: str, *places: str) -> str:
    """Its path; Debian keeps some beside PATH. Raises MissingService."""
    for place in (None, *places):
        if found := shutil.which(name, path=place):
            return found
    raise MissingService(f"{name} is not installed")
