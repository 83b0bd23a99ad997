"""Where the server's CPU goes: py-spy samples while W1 runs, added up by the function that was on top.

The C code of uvloop, its system calls included, counts as `Runner.run`: py-spy sees only Python.
"""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

RATE = 250
SHOWN = 30
# Threads that wait for work, which py-spy takes for busy now and then.
WAITING = {"_worker (concurrent/futures/thread.py)", "Condition.wait (threading.py)"}


class Profile:
    def __init__(self, pid: int, seconds: float, folder: Path, core: int) -> None:
        self._raw = folder / f"profile.{pid}"
        argv = ["record", "--pid", str(pid), "--duration", f"{seconds:.0f}", "--rate", str(RATE), "--nonblocking"]
        argv += ["--format", "raw", "--subprocesses", "--output", str(self._raw)]
        self._popen = subprocess.Popen(
            [str(Path(sys.executable).with_name("py-spy")), *argv],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),  # noqa: PLW1509 - no threads here
        )

    def lines(self) -> list[str]:
        _, said = self._popen.communicate()
        if self._popen.returncode or not self._raw.exists():
            return [f"  py-spy failed: {said.decode(errors='replace').strip()[-300:]}"]
        own, within = _count(self._raw.read_text().splitlines())
        total = max(1, own.total())
        lines = [f"  {'own':>6}  {'with callees':>12}  function ({total} samples)"]
        for name, samples in own.most_common(SHOWN):
            lines.append(f"  {samples / total:>6.1%}  {within[name] / total:>12.1%}  {name}")
        return lines


def _count(stacks: list[str]) -> tuple[Counter[str], Counter[str]]:
    """Each line of py-spy's raw format: frames from the outermost in, separated by `;`, then the number of samples."""
    own: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for stack in stacks:
        frames, _, samples = stack.rpartition(" ")
        names = [_without_line(frame) for frame in frames.split(";")]
        if names[-1] in WAITING:
            continue
        own[names[-1]] += int(samples)
        for name in set(names):
            within[name] += int(samples)
    return own, within


def _without_line(frame: str) -> str:
    return frame.rpartition(":")[0] + ")" if frame.endswith(")") and ":" in frame else frame
