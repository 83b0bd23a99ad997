"""Faults of Postgres, again and again, each with ten runs streaming into three tabs each."""

import asyncio
import sys
import time
import traceback
from collections.abc import Awaitable, Callable

from tests.chaos.table import Row
from tests.faults import outages
from tests.faults.locking import locked
from tests.faults.outages import Load, Outcome
from tests.rig import Deployment, OwnPostgres, OwnRedis, deployment, wire
from tests.upstream import upstream_process

TIMES = 20
LOAD = Load(runs=10, tabs=3)
LOCK_S = 10

Scene = Callable[[], Awaitable[Outcome | None]]


def run(times: int = TIMES, load: Load = LOAD) -> list[Row]:
    with upstream_process() as upstream, OwnPostgres() as postgres, OwnRedis() as redis:
        with deployment(upstream, postgres=postgres, redis=redis) as whole:
            rows = asyncio.run(_outages(whole, times, load))
        with wire(postgres.port) as proxy:
            url = postgres.url_at(proxy.port)
            with deployment(upstream, postgres=postgres, redis=redis, database_url=url) as whole:
                visitor = whole.visitor()

                async def lose() -> None:
                    assert await outages.replies_lost(whole, visitor, proxy, load, prompts=load.runs) > 0

                rows.append(asyncio.run(_often("Postgres' replies to commits lost", times, lose)))
        with deployment(upstream, postgres=postgres, redis=redis, workers=0, CHAT_WORKER="on") as whole:
            return [*rows, asyncio.run(_often(f"a chat session locked for {LOCK_S} s", 1, lambda: _lock(whole)))]


async def _outages(whole: Deployment, times: int, load: Load) -> list[Row]:
    visitor = whole.visitor()
    return [
        await _often("Postgres restarted", times, lambda: outages.restarted(whole, visitor, load)),
        await _often("Postgres killed, 5 s down", times, lambda: outages.killed(whole, visitor, load)),
        await _often("Postgres frozen for 8 s", times, lambda: outages.frozen(whole, visitor, load)),
        await _often("Postgres killed, 20 s down", 2, lambda: outages.killed(whole, visitor, load, down=20)),
        await _often("connections terminated, 60 times", 1, lambda: outages.terminated(whole, visitor, load, 60)),
        await _often("Postgres read-only for 3 s", times, lambda: outages.read_only(whole, visitor, load)),
        await _often("all connections taken by another", times, lambda: outages.crowded_out(whole, visitor, load)),
    ]


async def _lock(whole: Deployment) -> None:
    before, during, replies, _ = await locked(whole, whole.visitor(), LOCK_S)
    assert {reply.get("code") for reply in replies} == {"unavailable"}
    assert during.gap < 2 * max(before.gap, 0.1)
    assert during.reply < 2 * max(before.reply, 0.1)


async def _often(name: str, times: int, scene: Scene) -> Row:
    begun, survived, slowest = time.monotonic(), 0, 0.0
    for number in range(1, times + 1):
        try:
            outcome = await scene()
            survived += 1
            slowest = max(slowest, outcome.recovery if outcome is not None else 0)
        except Exception:
            traceback.print_exc()
        print(f"  {name}: {survived} of {number} survived", file=sys.stderr, flush=True)
    told = f"{name} (back within {slowest:.1f} s)" if slowest else name
    return Row(told, times, survived, time.monotonic() - begun)
