"""Two tabs on two web processes, a thousand times: who sends first, and whether a stop or the end comes first."""

import asyncio
import random
import sys
import time
import traceback
from collections.abc import Callable, Coroutine
from typing import Any

from tests.chaos.processes import fresh
from tests.chaos.table import Row
from tests.faults import races
from tests.faults.process_faults import p95
from tests.rig import Deployment, audit
from tests.visitors import Visitor

TIMES = 1_000
AT_ONCE = 50  # of one chat session, whose branch grows with each
STOPS = 100

Play = Callable[[Deployment, Visitor, int], Coroutine[Any, Any, None]]


def run(times: int = TIMES) -> list[Row]:
    with fresh() as whole:
        return [
            _row(whole, "two prompts at once to one chat session", _send, times, AT_ONCE),
            _row(whole, "stops over processes that race the end", _stop, times, AT_ONCE),
            _row(whole, "stops over processes: p95 at most 500 ms", _latency, STOPS, STOPS),
        ]


def _row(whole: Deployment, name: str, play: Play, times: int, at_once: int) -> Row:
    begun, survived = time.monotonic(), 0
    for _ in range(times // at_once):
        try:
            asyncio.run(play(whole, whole.visitor(), at_once))
            audit(whole, [])
            survived += at_once
        except Exception:
            traceback.print_exc()
        print(f"  {name}: {survived}", file=sys.stderr, flush=True)
    return Row(name, times, survived, time.monotonic() - begun)


async def _send(whole: Deployment, visitor: Visitor, rounds: int) -> None:
    await races.send_at_once(whole, visitor, rounds)


async def _stop(whole: Deployment, visitor: Visitor, runs: int) -> None:
    await races.stop_at_the_end(whole, visitor, random.Random(), runs)


async def _latency(whole: Deployment, visitor: Visitor, runs: int) -> None:
    for first_token in (False, True):
        found = await races.stop_latencies(whole, visitor, runs // 2, first_token=first_token)
        assert p95(found) <= races.STOP_S, sorted(found)
