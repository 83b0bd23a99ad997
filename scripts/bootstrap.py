"""Make .venv and install the pinned packages: `python3 scripts/bootstrap.py run|dev`.

Standard library only, as it runs before anything is installed, and it must parse on an old Python to be able to
say that it is too old. A stamp (hash of the requirement files and the Python version) lets later starts skip pip.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST_PYTHON = (3, 11)
# `dev` contains all of `run`, and both live in the same .venv.
REQUIREMENTS = {
    "run": ("requirements.txt", "constraints.txt"),
    "dev": ("requirements.txt", "requirements-dev.txt", "constraints.txt"),
}
MAIN_FILE = {"run": "requirements.txt", "dev": "requirements-dev.txt"}


class BootstrapError(Exception):
    """One line that tells a newcomer what is missing and what to do."""


def check_python(version: tuple[int, ...]) -> None:
    if version[:2] < OLDEST_PYTHON:
        found = ".".join(str(part) for part in version[:2])
        raise BootstrapError(f"Python {found} is too old: Tokenwire needs 3.11 or newer (PYTHON=python3.12 make run).")


def check_venv_modules(version: tuple[int, ...]) -> None:
    # Debian splits ensurepip off into a package of its own; without it venv leaves a half-made folder behind.
    for module in ("venv", "ensurepip"):
        if importlib.util.find_spec(module) is None:
            package = f"python{version[0]}.{version[1]}-venv"
            raise BootstrapError(f"This Python has no `{module}` module: on Debian or Ubuntu, apt install {package}.")


def venv_python(root: Path) -> Path:
    return root / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def venv_is_usable(root: Path, version: tuple[int, ...]) -> bool:
    """False for a missing or half-made .venv, and for one whose interpreter has moved away or changed its version."""
    config = root / ".venv" / "pyvenv.cfg"
    if not config.is_file() or not venv_python(root).exists():
        return False
    return f"version = {version[0]}.{version[1]}." in config.read_text(encoding="utf-8")


def ensure_venv(root: Path, version: tuple[int, ...]) -> None:
    if venv_is_usable(root, version):
        return
    check_venv_modules(version)
    import venv  # noqa: PLC0415 - not at the top: where it is missing, the line above says so

    say(f"Making {root / '.venv'} with Python {version[0]}.{version[1]}")
    try:
        venv.create(root / ".venv", clear=True, with_pip=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise BootstrapError(f"Cannot write to {root}: {reason}. Use a folder that you own.") from error
    except subprocess.CalledProcessError as error:
        raise BootstrapError(f"Python could not put pip into {root / '.venv'}: {last_line(error.output)}") from error


def fingerprint(root: Path, kind: str, version: tuple[int, ...]) -> str:
    digest = hashlib.sha256(repr(tuple(version[:3])).encode())
    for name in REQUIREMENTS[kind]:
        digest.update(name.encode() + b"\0" + (root / name).read_bytes() + b"\0")
    return digest.hexdigest()


def stamp(root: Path, kind: str) -> Path:
    return root / ".venv" / f".installed-{kind}"


def is_installed(root: Path, kind: str, version: tuple[int, ...]) -> bool:
    path = stamp(root, kind)
    return path.is_file() and path.read_text(encoding="utf-8") == fingerprint(root, kind, version)


def install(root: Path, kind: str, version: tuple[int, ...]) -> None:
    say(f"Installing {MAIN_FILE[kind]} (only when it has changed)")
    command = [str(venv_python(root)), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    command += ["-r", MAIN_FILE[kind], "-c", "constraints.txt"]
    try:
        pip = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        log = root / ".venv" / "pip.log"
        log.write_text(pip.stdout + pip.stderr, encoding="utf-8")
        if pip.returncode != 0:
            raise BootstrapError(
                f"pip could not install {MAIN_FILE[kind]} (is the network up?): {last_line(pip.stderr)} See {log}."
            )
        for done in ("run", "dev") if kind == "dev" else ("run",):
            stamp(root, done).write_text(fingerprint(root, done, version), encoding="utf-8")
    except OSError as error:
        raise BootstrapError(f"Cannot write to {root / '.venv'}: {error.strerror}. Use a folder you own.") from error


def last_line(output: str | bytes | None) -> str:
    text = output.decode(errors="replace") if isinstance(output, bytes) else output or ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["no output"])[-1]


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def bootstrap(root: Path, kind: str, version: tuple[int, ...]) -> None:
    check_python(version)
    ensure_venv(root, version)
    if not is_installed(root, kind, version):
        install(root, kind, version)
    # With the Python of .venv, whose folder is where an npm of our own would be.
    subprocess.run([str(venv_python(root)), str(root / "scripts" / "front_end.py")], check=False)


def main(arguments: list[str], root: Path = ROOT) -> int:
    kind = arguments[0] if arguments else "run"
    if kind not in REQUIREMENTS:
        say(f"Unknown set of packages {kind!r}: use `run` or `dev`.")
        return 2
    try:
        bootstrap(root, kind, tuple(sys.version_info[:3]))
    except BootstrapError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("Stopped; the next start goes on from here.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
