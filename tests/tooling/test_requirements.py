"""A fresh clone installs exactly what was tested: exact pins, everything covered, nothing said about where from."""

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
FILES = ["requirements.txt", "requirements-dev.txt", "constraints.txt"]
PIN = re.compile(r"[A-Za-z0-9._-]+(\[[a-z0-9,-]+\])?==[0-9][A-Za-z0-9.]*(; .+)?")


def lines(name: str) -> list[str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def requirements(name: str) -> list[Requirement]:
    return [Requirement(line) for line in lines(name) if not line.startswith("-r ")]


def closure(roots: list[Requirement]) -> Iterator[str]:
    """The names of all installed packages that `roots` need on this machine, extras included."""
    seen: set[tuple[str, str]] = set()
    waiting = [(root, extra) for root in roots for extra in ("", *root.extras)]
    while waiting:
        wanted, extra = waiting.pop()
        name = canonicalize_name(wanted.name)
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        yield name
        for text in distribution(name).requires or []:
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                waiting += [(needed, inner) for inner in ("", *needed.extras)]


@pytest.mark.parametrize("name", FILES)
def test_every_line_is_an_exact_pin(name: str) -> None:
    loose = [line for line in lines(name) if not PIN.fullmatch(line) and line != "-r requirements.txt"]
    assert loose == []


@pytest.mark.parametrize("name", FILES)
def test_no_file_names_a_registry(name: str) -> None:
    assert not re.search(r"://|--(extra-)?index|--find-links|--trusted| @ ", (ROOT / name).read_text(encoding="utf-8"))


def test_the_pins_cover_every_package_that_is_brought_along() -> None:
    pinned = {canonicalize_name(pin.name) for name in FILES for pin in requirements(name)}
    direct = [pin for name in FILES[:2] for pin in requirements(name) if not pin.marker or pin.marker.evaluate()]
    assert set(closure(direct)) - pinned == set()


def test_no_package_is_pinned_twice() -> None:
    names = [canonicalize_name(pin.name) for name in FILES for pin in requirements(name)]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("name", FILES)
def test_the_installed_versions_are_the_pinned_ones(name: str) -> None:
    wrong = []
    for pin in requirements(name):
        try:
            installed = distribution(pin.name).version
        except PackageNotFoundError:
            installed = "missing"
        if (pin.marker is None or pin.marker.evaluate()) and not pin.specifier.contains(installed, prereleases=True):
            wrong.append(f"{pin} but {installed}")
    assert wrong == []
