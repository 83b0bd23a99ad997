"""Faults of Postgres while answers are under way, and the law that must hold after each of them.

The suite plays each once and small, `make chaos` often and large.
"""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from typing import NamedTuple

import psycopg

from tests.faults.probing import Probe
from tests.rig import Crowd, Deployment, OwnPostgres, Wire, audit, stream
from tests.visitors import Visitor
from tests.waiting import until

# Until every reader has its next frame and every process a page, from the moment that Postgres takes connections.
RECOVERY_S = 5.0
RATE = 30
BEFORE_S, AFTER_S = 1.0, 2.0
LOG_LINES_A_SECOND = 8  # of one process, of all causes together


class Load(NamedTuple):
    runs: int = 4
    tabs: int = 2


class Outcome(NamedTuple):
    recovery: float
    statuses: Counter[int]
    attempts: set[int]  # 1: no run had to begin anew


Fault = Callable[[], Awaitable[None]]


async def survive(whole: Deployment, visitor: Visitor, fault: Fault, seconds: float, load: Load) -> Outcome:
    """`fault` takes some `seconds`, and returns when Postgres answers again. Raises AssertionError."""
    before = whole.log_text().count("\n")
    chunks = round((BEFORE_S + seconds + AFTER_S) * RATE)
    begun = time.monotonic()
    async with (
        Probe(whole, visitor) as probe,
        stream(whole.urls(), visitor, runs=load.runs, tabs=load.tabs, chunks=chunks, rate=RATE) as crowds,
    ):
        await fault()
        recovery = await _recovered(crowds, probe)
    audit(whole, crowds)
    assert recovery <= RECOVERY_S
    assert probe.wrong == []
    assert "Traceback" not in whole.log_text(), whole.log_text()[-6000:]
    lines = whole.log_text().count("\n") - before
    assert lines <= LOG_LINES_A_SECOND * len(whole.processes) * (time.monotonic() - begun)
    attempts = {int(whole.stored.run(crowd.run)["attempt"]) for crowd in crowds}
    return Outcome(recovery, probe.statuses, attempts)


async def _recovered(crowds: Sequence[Crowd], probe: Probe) -> float:
    begun = time.monotonic()
    views = [client.view for crowd in crowds for client in crowd.clients if client.view is not None]
    waiting = [(view, view.seq) for view in views if view.ended is None]

    def all_go_on() -> bool:
        return all(view.seq > seq for view, seq in waiting) and probe.fine_since(begun)

    await until(all_go_on, RECOVERY_S * 4)
    return time.monotonic() - begun


# A8 -------------------------------------------------------------------------------------------------------------------


async def restarted(whole: Deployment, visitor: Visitor, load: Load) -> Outcome:
    async def fault() -> None:
        await asyncio.to_thread(whole.postgres.restart)

    return await survive(whole, visitor, fault, 2, load)


async def killed(whole: Deployment, visitor: Visitor, load: Load, down: float = 5) -> Outcome:
    async def fault() -> None:
        await asyncio.to_thread(whole.postgres.kill)
        await asyncio.sleep(down)
        await asyncio.to_thread(whole.postgres.start)

    return await survive(whole, visitor, fault, down + 2, load)


async def frozen(whole: Deployment, visitor: Visitor, load: Load, down: float = 8) -> Outcome:
    """It takes connections and answers nothing: no error tells of it, only that nothing comes."""

    async def fault() -> None:
        whole.postgres.freeze()
        try:
            await asyncio.sleep(down)
        finally:
            whole.postgres.thaw()

    return await survive(whole, visitor, fault, down, load)


# A9 -------------------------------------------------------------------------------------------------------------------


async def terminated(whole: Deployment, visitor: Visitor, load: Load, times: int = 5) -> Outcome:
    """Every connection, once a second."""

    async def fault() -> None:
        for _ in range(times):
            assert await asyncio.to_thread(whole.postgres.terminate_all) > 0
            await asyncio.sleep(1)

    return await survive(whole, visitor, fault, times, load)


# A10 ------------------------------------------------------------------------------------------------------------------


async def crowded_out(whole: Deployment, visitor: Visitor, load: Load, seconds: float = 3) -> Outcome:
    """Somebody else takes every connection that there is, those of the processes as well."""

    async def fault() -> None:
        with ExitStack() as taken:
            await asyncio.to_thread(_take_all, whole.postgres, taken, seconds)

    return await survive(whole, visitor, fault, seconds + 1, load)


def _take_all(postgres: OwnPostgres, taken: ExitStack, seconds: float) -> None:
    admin = taken.enter_context(psycopg.connect(postgres.url, autocommit=True))
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'tokenwire%'"
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(psycopg.OperationalError):
            while True:
                taken.enter_context(psycopg.connect(postgres.url, autocommit=True, application_name="somebody else"))
        admin.execute(others)
        time.sleep(0.02)


# A12 ------------------------------------------------------------------------------------------------------------------


async def read_only(whole: Deployment, visitor: Visitor, load: Load, seconds: float = 3) -> Outcome:
    """As after a failover to a server that is no primary yet: it reads, and refuses every write."""

    async def fault() -> None:
        await asyncio.to_thread(_default_read_only, whole.postgres, "on")
        await asyncio.sleep(seconds)
        await asyncio.to_thread(_default_read_only, whole.postgres, "off")

    return await survive(whole, visitor, fault, seconds, load)


def _default_read_only(postgres: OwnPostgres, value: str) -> None:
    with psycopg.connect(postgres.url, autocommit=True) as admin:
        admin.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
        admin.execute("SELECT pg_reload_conf()")


# A14 ------------------------------------------------------------------------------------------------------------------

LEAST = 3  # whether a reply that is to be lost meets a commit is chance
NEEDLES = (b"INSERT INTO chat_runevent", b"COMMIT", b"run.completed")


async def replies_lost(
    whole: Deployment, visitor: Visitor, wire: Wire, load: Load, prompts: int = 20, every: float = 0.15
) -> int:
    """What was committed is not known to be: of appends, and of whichever transaction comes next. How many."""
    before = wire.lost_replies

    async def lose() -> None:
        for needle in itertools.cycle(NEEDLES):
            wire.lose_reply_to(needle)
            await asyncio.sleep(random.uniform(0.5, 1.5) * every)

    rounds = max(1, prompts // load.runs)
    for done in range(rounds * 4):
        if done >= rounds and wire.lost_replies - before >= LEAST:
            break
        losing = asyncio.create_task(lose())
        try:
            # Short answers: their begin and end are most of what is committed.
            async with stream(whole.urls(), visitor, runs=load.runs, tabs=load.tabs, chunks=20, rate=RATE) as crowds:
                pass
        finally:
            losing.cancel()
            wire.lose_reply_to(b"")
        audit(whole, crowds)
    assert "Traceback" not in whole.log_text(), whole.log_text()[-6000:]
    return wire.lost_replies - before
