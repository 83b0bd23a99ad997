"""scripts/bootstrap.py: what it decides, and the one line it says for each thing that can be missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import bootstrap

ROOT = Path(__file__).resolve().parents[2]
VERSION = (3, 11, 7)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with requirement files and a .venv that looks whole, so that nothing is installed."""
    for name in bootstrap.REQUIREMENTS["dev"]:
        (tmp_path / name).write_text(f"# {name}\n", encoding="utf-8")
    python = bootstrap.venv_python(tmp_path)
    python.parent.mkdir(parents=True)
    python.touch()
    (tmp_path / ".venv" / "pyvenv.cfg").write_text("version = 3.11.7\n", encoding="utf-8")
    return tmp_path


def run(code: str, root: Path) -> subprocess.CompletedProcess[str]:
    """Runs bootstrap in a new interpreter on `root`, after `code` has changed what that interpreter has."""
    program = f"import sys\nfrom pathlib import Path\n{code}\nfrom scripts import bootstrap\n"
    program += "sys.exit(bootstrap.main(['run'], Path(sys.argv[1])))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, str(root)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_it_works_without_pip_when_nothing_has_changed() -> None:
    # Every test run was itself started through `make test`, or in a .venv that has the packages.
    if not bootstrap.is_installed(ROOT, "dev", tuple(sys.version_info[:3])):
        pytest.skip("this .venv was not made by scripts/bootstrap.py")
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "bootstrap.py"), "run"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_old_python_is_told_in_one_line(tmp_path: Path) -> None:
    done = run("sys.version_info = (3, 9, 2, 'final', 0)", tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "error: Python 3.9 is too old: Tokenwire needs 3.11 or newer (PYTHON=python3.12 make run).\n"
    )
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_a_missing_venv_module_is_told_in_one_line_with_its_package(tmp_path: Path, module: str) -> None:
    # None in sys.modules is how Python itself marks a module that cannot be imported.
    done = run(f"sys.modules[{module!r}] = None", tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"no `{module}` module" in done.stderr
    assert f"apt install python3.{sys.version_info.minor}-venv" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_an_unwritable_folder_is_told_in_one_line() -> None:
    # /proc refuses new files to everybody, also to root, for whom permission bits do not count.
    done = run("", Path("/proc"))
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if line.startswith("error: Cannot write to /proc: ")]
    assert "Traceback" not in done.stderr


def test_a_failing_pip_is_told_in_one_line_and_leaves_no_stamp(project: Path) -> None:
    python = bootstrap.venv_python(project)
    python.write_text("#!/bin/sh\necho noise\necho 'ERROR: No matching distribution found for x' >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(bootstrap.BootstrapError, match=r"is the network up\?.*No matching distribution found for x"):
        bootstrap.install(project, "run", VERSION)
    assert not bootstrap.is_installed(project, "run", VERSION)
    assert "noise" in (project / ".venv" / "pip.log").read_text(encoding="utf-8")


def test_the_development_packages_contain_the_runtime_ones(project: Path) -> None:
    python = bootstrap.venv_python(project)
    python.write_text("#!/bin/sh\nexit 0\n")
    python.chmod(0o755)
    bootstrap.install(project, "run", VERSION)
    assert not bootstrap.is_installed(project, "dev", VERSION)
    bootstrap.install(project, "dev", VERSION)
    assert bootstrap.is_installed(project, "dev", VERSION)
    assert bootstrap.is_installed(project, "run", VERSION)


@pytest.mark.parametrize("name", bootstrap.REQUIREMENTS["dev"])
def test_a_changed_requirement_file_is_installed_again(project: Path, name: str) -> None:
    before = bootstrap.fingerprint(project, "dev", VERSION)
    (project / name).write_text("changed==1\n", encoding="utf-8")
    assert bootstrap.fingerprint(project, "dev", VERSION) != before


def test_another_python_is_installed_again(project: Path) -> None:
    assert bootstrap.fingerprint(project, "run", VERSION) != bootstrap.fingerprint(project, "run", (3, 12, 1))


def test_a_venv_of_another_python_or_without_its_interpreter_is_made_anew(project: Path) -> None:
    assert bootstrap.venv_is_usable(project, VERSION)
    assert not bootstrap.venv_is_usable(project, (3, 12, 0))
    bootstrap.venv_python(project).unlink()
    assert not bootstrap.venv_is_usable(project, VERSION)
