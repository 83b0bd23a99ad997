"""What the page loads from npm: installed once, anew when it has changed, and never a reason not to start."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from chat.management.commands import serve
from config.settings import FRONT_END
from scripts import front_end
from tests.docs.pages import ROOT, read


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in front_end.FILES:
        (tmp_path / name).write_text("{}", encoding="utf-8")
    (tmp_path / "bin").mkdir()
    return tmp_path


def npm(project: Path, script: str) -> Path:
    """The Python of a .venv with an npm of its own."""
    program = project / "bin" / "npm"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)
    return project / "bin" / "python"


def test_it_is_installed_once_until_a_file_changes(project: Path) -> None:
    python = npm(project, 'test "$1" = ci && mkdir -p node_modules')
    assert not front_end.is_installed(project)
    front_end.install(project, python)
    assert front_end.is_installed(project)
    (project / "package-lock.json").write_text('{"changed": true}', encoding="utf-8")
    assert not front_end.is_installed(project)


@pytest.mark.parametrize("script", ["echo 'npm error network' >&2; exit 1", "exit 3"])
def test_a_failing_npm_is_told_in_one_line_and_ends_nothing(
    project: Path, script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    front_end.install(project, npm(project, script))
    told = capsys.readouterr().err.splitlines()
    assert told[-1].startswith("warning: the page will show answers as plain text: npm: ")
    assert not front_end.is_installed(project)


def test_without_any_npm_pip_is_asked_for_one(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    asked: list[list[str]] = []

    def run(command: list[str], folder: Path) -> str:
        asked.append(command)
        return ""

    monkeypatch.setattr(front_end, "run", run)
    assert front_end.find_npm(project / "bin" / "python") == [str(project / "bin" / "npm")]
    assert asked[0][-1] == front_end.WHEEL


def test_every_version_is_exact_and_the_lock_file_names_no_place() -> None:
    wanted = json.loads(read("package.json"))["dependencies"]
    assert all(version[0].isdigit() for version in wanted.values()), wanted
    assert {folder.split("/dist")[0].split("/es")[0].split("/lib")[0] for folder in FRONT_END.values()} == set(wanted)
    assert '"resolved"' not in read("package-lock.json")


def test_the_server_says_so_where_they_are_missing(settings: Settings) -> None:
    settings.STATICFILES_DIRS = [("vendor/marked", ROOT), ("vendor/katex", ROOT)]
    assert not serve.has_front_end()
    settings.STATICFILES_DIRS = [(f"vendor/{name}", ROOT) for name in FRONT_END]
    assert serve.has_front_end()


def test_a_second_call_says_nothing() -> None:
    if not front_end.is_installed(ROOT):
        pytest.skip("the packages of package.json are not installed")
    command = [sys.executable, str(ROOT / "scripts" / "front_end.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""
