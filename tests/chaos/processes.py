"""Our own processes killed, frozen, replaced and set to a wrong clock, twenty times each, with the default lease."""

import asyncio
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.chaos.table import Row
from tests.faults import process_faults as faults
from tests.rig import Deployment, OwnPostgres, OwnRedis, deployment
from tests.upstream import upstream_process
from tests.visitors import Visitor

TIMES = 20
FROZEN_S = 20.0
ROLLS = 5
LEASE_S = "10"  # the default, longer than the suite's

Play = Callable[[Deployment, Visitor, random.Random], Coroutine[Any, Any, None]]


def run(times: int = TIMES) -> list[Row]:
    rows: list[Row] = []
    with fresh() as whole:
        for name, play in (
            ("kill -9 of a web process", faults.kill_web),
            ("kill -9 of a worker", faults.kill_worker),
            (f"a worker frozen for {FROZEN_S:g} s", partial(faults.freeze_worker, seconds=FROZEN_S)),
            ("SIGTERM of both web processes in turn, uvicorn", faults.stop_web),
            ("SIGTERM of a worker", faults.stop_worker),
            ("kill -9 of everything, Postgres and Redis too", faults.kill_everything),
        ):
            rows.append(repeat(whole, name, play, times))
        rows.append(repeat(whole, "a rolling deploy during 100 streams", _roll, min(times, ROLLS)))
    with fresh("daphne") as whole:
        rows.append(repeat(whole, "SIGTERM of both web processes in turn, daphne", faults.stop_web, times))
    with fresh() as whole, tempfile.TemporaryDirectory(prefix="tokenwire-chaos-") as folder:
        clock = Path(folder) / "worker"
        faults.skew(whole.workers[0], clock, 0)
        faults.skew(whole.webs[1], Path(folder) / "web", 300)
        rows.append(repeat(whole, "a clock that steps by an hour", partial(faults.step_clock, clock=clock), times))
    return rows


async def _roll(whole: Deployment, visitor: Visitor, rng: random.Random) -> None:
    await faults.roll(whole, visitor)


@contextmanager
def fresh(kind: str = "uvicorn") -> Iterator[Deployment]:
    with (
        OwnPostgres() as postgres,
        OwnRedis() as redis,
        upstream_process() as upstream,
        deployment(upstream, kind=kind, postgres=postgres, redis=redis, CHAT_LEASE_SECONDS=LEASE_S) as whole,
    ):
        yield whole


def repeat(whole: Deployment, name: str, play: Play, times: int) -> Row:
    """Each time with another seed, which is printed when it fails."""
    begun, survived = time.monotonic(), 0
    for number in range(times):
        seed = random.randrange(2**32)
        try:
            asyncio.run(play(whole, whole.visitor(), random.Random(seed)))
            survived += 1
        except Exception:
            traceback.print_exc()
            print(f"{name}, seed {seed}: {whole.log_text()[-4000:]}", file=sys.stderr)
            whole.revive()
        print(f"  {name}: {survived} of {number + 1}", file=sys.stderr, flush=True)
    return Row(name, times, survived, time.monotonic() - begun)
