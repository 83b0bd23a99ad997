"""Redis killed, frozen, silent, refused, slow, full, flushed, and its clients cut; each again and again under streams.

And a thousand readers whose connections all break at one moment.
"""

import asyncio
import random
import sys
import time
import traceback
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import Any

from tests.chaos.table import Row
from tests.faults.redis_faults import LASTING, MOMENTS, Fault, ride, stranger
from tests.faults.storm import storm
from tests.rig import Deployment, OwnPostgres, OwnRedis, Wire, deployment, wire
from tests.upstream import upstream_process

TIMES = 20
LASTING_S = 10.0  # the first time of each; the others are random and shorter
RUNS, TABS = 10, 3
STORMS = 3
STORM_RUNS, STORM_TABS, STORM_S = 50, 20, 30

Work = Callable[[int], Coroutine[Any, Any, None]]


def run(times: int = TIMES, storms: int = STORMS) -> list[Row]:
    with ExitStack() as stack:
        upstream = stack.enter_context(upstream_process())
        postgres, redis = stack.enter_context(OwnPostgres()), stack.enter_context(OwnRedis())
        way = stack.enter_context(wire(redis.port))
        whole = stack.enter_context(
            deployment(upstream, postgres=postgres, redis=redis, redis_url=redis.url_at(way.port))
        )
        webs = [stack.enter_context(wire(web.port)) for web in whole.webs]
        faults = [*(fault for each in LASTING for fault in each), *MOMENTS]
        rows = [repeated(f"redis {fault.__name__}, 30 readers", times, riding(whole, way, fault)) for fault in faults]
        rows.append(
            repeated("hints of a stranger, twice and shuffled, 30 readers", times, beside_a_stranger(whole, way))
        )
        rows.append(repeated("1,000 readers cut at once", storms, storming(whole, webs)))
        return rows


def riding(whole: Deployment, way: Wire, fault: Fault) -> Work:
    async def work(turn: int) -> None:
        lasting = LASTING_S if turn == 0 else random.uniform(0.2, 3)
        (await ride(whole, way, [fault], lasting=lasting, runs=RUNS, tabs=TABS)).check()

    return work


def beside_a_stranger(whole: Deployment, way: Wire) -> Work:
    async def work(turn: int) -> None:
        with stranger(whole.redis):
            (await ride(whole, way, [], runs=RUNS, tabs=TABS)).check()

    return work


def storming(whole: Deployment, webs: list[Wire]) -> Work:
    async def work(turn: int) -> None:
        found = await storm(whole, webs, runs=STORM_RUNS, tabs=STORM_TABS, seconds=STORM_S)
        found.check(len(whole.processes))

    return work


def repeated(name: str, times: int, work: Work) -> Row:
    begun, survived = time.monotonic(), 0
    for turn in range(times):
        try:
            asyncio.run(work(turn))
            survived += 1
        except Exception:
            traceback.print_exc()
    print(f"  {name}: {survived} of {times}", file=sys.stderr, flush=True)
    return Row(name, times, survived, time.monotonic() - begun)
