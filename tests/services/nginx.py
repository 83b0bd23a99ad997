"""The nginx of the deployment: its own configuration with the addresses replaced, and Debian's binary."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.docs.pages import read
from tests.servers import ServerProcess, running

BINARY = shutil.which("nginx") or "/usr/sbin/nginx"
SERVER = "server web{}:8000 resolve "
# Of Docker's DNS; with addresses in place of names nothing is asked for.
RESOLVER = "    resolver 127.0.0.11 valid=2s ipv6=off;\n"


def required() -> None:
    if Path(BINARY).exists():
        return
    if os.environ.get("REQUIRE_SERVICES"):
        pytest.fail("nginx is not installed")
    pytest.skip("nginx is not installed")


def rendered(folder: Path, port: int, webs: Sequence[int], **shorter: str) -> str:
    """`shorter`: directives whose value is replaced, so that a test need not wait for the real one."""
    text = read("deploy/nginx.conf")
    replaced = {
        "listen 8080 ": f"listen 127.0.0.1:{port} ",
        RESOLVER: "",
        **{SERVER.format(number): f"server 127.0.0.1:{web} " for number, web in enumerate(webs, 1)},
    }
    for name, value in shorter.items():
        (line,) = [line for line in text.splitlines() if line.strip().startswith(f"{name} ")]
        replaced[line] = f"{name} {value};"
    for old, new in replaced.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    assert " /tmp/" in text
    return text.replace(" /tmp/", f" {folder}/")


class Nginx(ServerProcess):
    def __init__(self, folder: Path, webs: Sequence[int], **shorter: str) -> None:
        super().__init__("nginx", folder, "")
        self.webs = webs
        self.shorter = shorter

    @property
    def arguments(self) -> list[str]:
        # The workers of a master that is root change to "nobody", who may not enter a test's folder.
        extra = "user root; " if os.getuid() == 0 else ""
        return [BINARY, "-p", str(self.folder), "-c", "nginx.conf", "-g", f"{extra}daemon off;"]

    def write(self) -> None:
        text = rendered(self.folder, self.port, self.webs, **self.shorter)
        (self.folder / "nginx.conf").write_text(text, encoding="utf-8")

    def tested(self) -> subprocess.CompletedProcess[str]:
        """`nginx -t`."""
        self.write()
        return subprocess.run([*self.arguments, "-t"], capture_output=True, text=True, check=False, timeout=10)

    def launch(self) -> subprocess.Popen[bytes]:
        self.write()
        with self.log.open("ab") as output:
            return subprocess.Popen(
                self.arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """At once: a graceful end (SIGQUIT) would wait for open sockets."""
        return super().stop(number)


@contextmanager
def running_nginx(folder: Path, webs: Sequence[int], **shorter: str) -> Iterator[Nginx]:
    required()
    with running(Nginx(folder, webs, **shorter)) as nginx:
        yield nginx


def exchange(port: int, sent: bytes) -> bytes:
    """What comes back, up to the end of its head or of the connection."""
    with socket.create_connection(("127.0.0.1", port), 20) as connection, suppress(ConnectionResetError):
        connection.sendall(sent)
        received = b""
        while b"\r\n\r\n" not in received and (data := connection.recv(65_536)):
            received += data
        return received
    return b""
