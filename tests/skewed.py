"""`python -m tests.skewed FILE manage.py …`: that program, whose wall clock is wrong by the seconds that FILE holds.

FILE is read at every look at the clock, so a step is one write. The monotonic clock goes on as it is, as with a real
step. (libfaketime 0.9.10 cannot leave it alone: time.sleep fails.)
"""

import datetime as dt
import os
import runpy
import sys
import time

from django.utils import timezone


def skew(offsets: int) -> None:
    real, real_ns = time.time, time.time_ns

    def wrong() -> float:
        return float(os.pread(offsets, 32, 0) or 0)

    time.time = lambda: real() + wrong()
    time.time_ns = lambda: real_ns() + int(wrong() * 1e9)
    timezone.now = lambda: dt.datetime.now(tz=dt.UTC) + dt.timedelta(seconds=wrong())


if __name__ == "__main__":
    file, program, *arguments = sys.argv[1:]
    skew(os.open(file, os.O_RDONLY))
    sys.argv = [program, *arguments]
    runpy.run_path(program, run_name="__main__")
