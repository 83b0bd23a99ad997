"""The long forms of load: 100 runs, 500 readers, and 55 readers that lag behind beside 100 that do not."""

import asyncio
import time
import traceback
from collections.abc import Callable, Coroutine
from typing import Any

from tests.bench.workloads import Workload
from tests.chaos.processes import fresh
from tests.chaos.table import Row
from tests.faults import load
from tests.rig import Deployment
from tests.visitors import Visitor

ACK_TIMEOUT_S = 30  # the default
RUNS = Workload("D2", "100 runs at 20 chunks/s", 100, "", chunks=600, rate=20, spread_s=5)
P50_MS, P99_MS = 50, 250

Play = Callable[[Deployment, Visitor], Coroutine[Any, Any, None]]


def run() -> list[Row]:
    with fresh() as whole:
        return [
            _row(whole, "100 runs at 20 chunks/s: p50 50 ms, p99 250 ms", _hundred_runs),
            _row(whole, "20 runs in 25 tabs each", _tabs),
            _row(whole, "55 readers that lag, beside 100 that do not", _laggards),
        ]


def _row(whole: Deployment, name: str, play: Play) -> Row:
    begun, survived = time.monotonic(), 0
    try:
        asyncio.run(play(whole, whole.visitor()))
        survived = 1
    except Exception:
        traceback.print_exc()
    return Row(name, 1, survived, time.monotonic() - begun)


async def _hundred_runs(whole: Deployment, visitor: Visitor) -> None:
    measured = await load.measure_alone(whole, RUNS)
    assert measured.added_p50_ms <= P50_MS, measured.added_p50_ms
    assert measured.added_p99_ms <= P99_MS, measured.added_p99_ms


async def _tabs(whole: Deployment, visitor: Visitor) -> None:
    await load.many_tabs(whole, visitor, runs=20, tabs=25, chunks=60, rate=3)


async def _laggards(whole: Deployment, visitor: Visitor) -> None:
    await load.lag_beside(whole, visitor, RUNS, silent=5, deaf=5, slow=45, ack_timeout=ACK_TIMEOUT_S)
