"""Processes under measurement: started on one core, waited for by port, read through /proc, ended by pid."""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
START_S = 60.0
STOP_S = 15.0


class StartError(Exception):
    """A process ended, or never listened; the message ends with what it said last."""


@dataclass(frozen=True)
class Process:
    name: str
    popen: subprocess.Popen[bytes]
    port: int | None
    log: Path

    @property
    def pid(self) -> int:
        return self.popen.pid


@contextlib.contextmanager
def only_bench() -> Iterator[None]:
    """Two runs at once would measure each other; the second waits for the first."""
    with (Path(tempfile.gettempdir()) / f"tokenwire-bench.{os.getuid()}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another run of the bench to end", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


_USABLE = sorted(os.sched_getaffinity(0))  # before anything is pinned


def all_cores() -> list[int]:
    return _USABLE


def cores() -> tuple[int, int]:
    """The core of the server under test and the core of everything else."""
    return _USABLE[-1], _USABLE[0]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(
    name: str, argv: Sequence[str], port: int | None, env: Mapping[str, str], folder: Path, cores: Collection[int]
) -> Process:
    """Returns when it listens on `port`; without one, when it has said something."""
    log = folder / f"{name}.log"
    with log.open("ab") as output:
        popen = subprocess.Popen(
            argv,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # Before exec, so that all threads and children inherit it; this process has no threads that could suffer.
            preexec_fn=lambda: os.sched_setaffinity(0, cores),  # noqa: PLW1509
        )
    process = Process(name, popen, port, log)
    try:
        _wait_until_up(process)
    except BaseException:
        stop(process)
        raise
    return process


def _wait_until_up(process: Process) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.popen.poll() is not None:
            raise StartError(f"exit {process.popen.returncode}: {last_words(process.log)}")
        if _is_up(process):
            return
        time.sleep(0.05)
    raise StartError(f"not up after {START_S:.0f} s: {last_words(process.log)}")


def _is_up(process: Process) -> bool:
    if process.port is None:
        return process.log.stat().st_size > 0
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", process.port), 1):
        return True
    return False


def spread(root: int) -> None:
    """Let the process and its children run on every core that the machine has for us."""
    for pid in _trees([root]):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(pid, all_cores())


def last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return " | ".join(lines[-2:])[-240:] or "said nothing"


def stop(process: Process) -> None:
    """The polite signal first; the whole group of the process goes, since a server may have children."""
    if process.popen.poll() is None:
        process.popen.send_signal(signal.SIGTERM)
        try:
            process.popen.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.popen.kill()
            process.popen.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _trees(roots: Sequence[int]) -> list[int]:
    """The processes and all that descend from them."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = list(roots)
    for pid in found:
        found += children.get(pid, [])
    return found


def cpu_seconds(*roots: int) -> float:
    """User and system time of the trees, and of children that they have already reaped."""
    ticks = 0
    for pid in _trees(roots):
        if fields := _stat(pid):
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / TICK


def rss_bytes(*roots: int) -> int:
    pages = 0
    for pid in _trees(roots):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * PAGE


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/<pid>/stat from the state on (field 3 of proc(5)), since the name may hold spaces."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
