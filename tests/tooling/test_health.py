"""The check that runs beside every process: what it says of a well one, of a sick one and of none."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts import health
from tests.rig.workers import WorkerProcess
from tests.servers import ROOT, running, running_server
from tests.waiting import until


def check(*arguments: str, port: int = 1) -> tuple[int, str]:
    command = [sys.executable, "-SI", "scripts/health.py", *arguments]
    ended = subprocess.run(
        command, cwd=ROOT, env={"PORT": str(port)}, capture_output=True, text=True, timeout=20, check=False
    )
    assert ended.stderr == ""
    return ended.returncode, ended.stdout.strip()


def test_a_web_process_that_serves_is_well(tmp_path: Path) -> None:
    with running_server("uvicorn", tmp_path, "http://127.0.0.1:9/v1") as server:
        assert check("live", port=server.port) == (0, "well")
        assert check("ready", port=server.port) == (0, "well")
    code, said = check("ready", port=server.port)
    assert (code, "does not answer" in said) == (1, True)


async def test_a_worker_that_works_is_well_and_one_that_is_frozen_is_not(tmp_path: Path) -> None:
    file = tmp_path / "worker.beat"
    with running_server("uvicorn", tmp_path, "http://127.0.0.1:9/v1"):
        pass  # the worker wants a database that is there
    worker = WorkerProcess(tmp_path, "http://127.0.0.1:9/v1")
    worker.command = (*WorkerProcess.command, "--beat", str(file))
    with running(worker):
        await until(lambda: check("beat", str(file)) == (0, "well"), 10)
        os.kill(worker.pid, signal.SIGSTOP)
        try:
            stale = time.time() - health.STALE_SECONDS - 5
            os.utime(file, (stale, stale))
            code, said = check("beat", str(file))
        finally:
            os.kill(worker.pid, signal.SIGCONT)
        assert (code, said.startswith("the last beat was 2")) == (1, True)
        await until(lambda: check("beat", str(file)) == (0, "well"), 10)
        assert worker.stop() == 0


def test_no_file_and_wrong_words_are_told(tmp_path: Path) -> None:
    assert check("beat", str(tmp_path / "nothing"))[0] == 1
    assert check() == (1, "use: health.py live | ready | beat FILE")


def test_an_answer_that_is_no_200_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(health, "asked", lambda path, port: f"HTTP/1.1 503 {path} {port}")
    monkeypatch.setenv("PORT", "")
    assert health.main(["ready"]) == 1
    assert capsys.readouterr().out == "HTTP/1.1 503 /readyz 8000\n"


def test_it_loads_little() -> None:
    code = "import runpy, sys; sys.argv = ['health.py']; runpy.run_path('scripts/health.py'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-SI", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"django", "http", "urllib", "asyncio", "pathlib"} & set(loaded.stdout.split())
