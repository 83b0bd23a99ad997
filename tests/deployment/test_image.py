"""The Dockerfile: what it copies suffices, nothing private gets in, nobody is root."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.deployment.compose import image_environment
from tests.docs.pages import ROOT, read

DOCKERFILE = read("Dockerfile")
LET_IN = [line[1:] for line in read(".dockerignore").splitlines() if line.startswith("!")]


def test_what_the_image_holds_suffices(tmp_path: Path) -> None:
    """The very files that .dockerignore lets in, in a folder of their own, with a command that needs most of them."""
    for name in LET_IN:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, tmp_path / name)
    env = {"PATH": os.environ["PATH"], **image_environment(), "SECRET_KEY": "unused", "CHAT_DATA_DIR": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "manage.py", "serve", "--prepare"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "First admin" in ended.stdout


def test_nothing_else_is_let_in() -> None:
    lines = [line for line in read(".dockerignore").splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    assert not {".env", "var", "tests", ".git"} & {Path(name).parts[0] for name in LET_IN}
    assert lines[-1] == "**/__pycache__"


def test_it_has_two_stages_and_ends_as_a_user() -> None:
    first, last = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    assert first.startswith("python:")
    assert "pip" not in last
    users = re.findall(r"^USER (.+)$", last, re.MULTILINE)
    assert users == ["10001:10001"]
    assert last.index("\nUSER") < last.index("\nCMD")


def test_the_base_has_an_exact_version_and_the_packages_their_pins() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(set(bases)) == 1
    # constraints.txt is a freeze of this Python.
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", bases[0])
    assert "-r requirements.txt -c constraints.txt" in DOCKERFILE


def test_it_serves_with_uvicorn_and_is_watched() -> None:
    assert image_environment()["SERVER"] == "uvicorn"
    assert image_environment()["PYTHONUNBUFFERED"] == "1"
    assert 'CMD ["python", "manage.py", "serve"]' in DOCKERFILE
    assert re.search(r"^HEALTHCHECK .*scripts/health\.py", DOCKERFILE, re.MULTILINE)
    assert f"EXPOSE {image_environment()['PORT']}" in DOCKERFILE
