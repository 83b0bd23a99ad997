"""Faults of our own processes while answers stream; each raises when something was lost, repeated or took too long.

The suite plays each once, `make chaos` again and again. The moment of a fault is random in both.
"""

import asyncio
import random
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from tests.rig import Crowd, Deployment, audit, stream
from tests.rig.workers import WorkerProcess
from tests.servers import ServerProcess
from tests.visitors import Visitor
from tests.waiting import until

TAKE_OVER_S = 15.0
COME_BACK_S = 2.0  # at the 95th percentile, after a process that said goodbye
COME_BACK_AFTER_CRASH_S = 3.0
EXIT_S = 10.0
HOUR_S = 3600.0
LET_GO_S = 3.0  # a worker that wakes up finds out at its next append, or at its next tick
ACTIVE = "SELECT lease_owner FROM chat_run WHERE ended IS NULL"
HELD = "SELECT id FROM chat_run WHERE ended IS NULL AND lease_owner LIKE ?"


def p95(values: Sequence[float]) -> float:
    return sorted(values)[int(len(values) * 0.95)] if values else 0.0


def owners(whole: Deployment) -> list[str]:
    return [owner for (owner,) in whole.stored.rows(ACTIVE)]


def held_by(whole: Deployment, pid: int) -> set[str]:
    return {str(run) for (run,) in whole.stored.rows(HELD, f"%:{pid}:%")}


def holds(whole: Deployment, pid: int) -> bool:
    return bool(held_by(whole, pid))


def busy_worker(whole: Deployment) -> WorkerProcess:
    return whole.worker_of(next(filter(None, owners(whole))))


def attempts(whole: Deployment, crowds: Sequence[Crowd]) -> list[int]:
    return [whole.stored.run(crowd.run)["attempt"] for crowd in crowds]


def outages(crowds: Sequence[Crowd]) -> list[float]:
    return [outage for crowd in crowds for outage in crowd.outages]


async def moment(rng: random.Random, longest: float = 2.0) -> None:
    await asyncio.sleep(rng.uniform(0, longest))


async def kill_web(whole: Deployment, visitor: Visitor, rng: random.Random) -> None:
    """A1: the runs go on, since no web process executes them, and readers come back to the other one."""
    async with stream(whole.urls(), visitor, chunks=90) as crowds:
        await moment(rng)
        victim = rng.choice(whole.webs)
        await asyncio.to_thread(victim.kill)
        await asyncio.to_thread(victim.start)
    audit(whole, crowds)
    assert attempts(whole, crowds) == [1] * len(crowds)
    assert p95(outages(crowds)) <= COME_BACK_AFTER_CRASH_S


async def kill_worker(whole: Deployment, visitor: Visitor, rng: random.Random) -> None:
    """A2: the other worker takes its runs over."""
    async with stream(whole.urls(), visitor, chunks=75) as crowds:
        await moment(rng, 1.2)
        victim = busy_worker(whole)
        pid = victim.pid
        taken = held_by(whole, pid)  # all have begun, so it claims no other before it dies
        await asyncio.to_thread(victim.kill)
        await until(lambda: not holds(whole, pid), TAKE_OVER_S)
        await asyncio.to_thread(victim.start)
    audit(whole, crowds)
    assert attempts(whole, crowds) == [2 if crowd.run in taken else 1 for crowd in crowds]


async def freeze_worker(whole: Deployment, visitor: Visitor, rng: random.Random, *, seconds: float) -> None:
    """A3: while it is frozen the other one takes over; when it wakes up it writes nothing and lets its upstream go."""
    chunks = int((seconds + 3) * 15)
    async with stream(whole.urls(), visitor, tabs=2, chunks=chunks, rate=15) as crowds:
        await moment(rng, 1.0)
        victim = busy_worker(whole)
        pid = victim.pid
        before = whole.upstream_stats()["aborted"]
        taken = held_by(whole, pid)
        victim.send(signal.SIGSTOP)
        try:
            begun = time.monotonic()
            await until(lambda: not holds(whole, pid), TAKE_OVER_S)
            await asyncio.sleep(max(0.0, seconds - (time.monotonic() - begun)))
        finally:
            victim.send(signal.SIGCONT)
        await until(lambda: whole.upstream_stats()["aborted"] == before + len(taken), LET_GO_S)
    audit(whole, crowds)
    assert attempts(whole, crowds) == [2 if crowd.run in taken else 1 for crowd in crowds]


async def stop_web(whole: Deployment, visitor: Visitor, rng: random.Random) -> None:
    """A4: one web process after the other is replaced; each says goodbye and readers are elsewhere at once."""
    async with stream(whole.urls(), visitor, chunks=210) as crowds:
        for web in whole.webs:
            await moment(rng, 1.0)
            await end_web(web)
            await asyncio.to_thread(web.start)
    audit(whole, crowds)
    codes = {code for crowd in crowds for client in crowd.clients for code in client.closed}
    # daphne has no goodbye: its connections just end, and one that comes late is told.
    assert codes <= ({1012} if whole.webs[0].kind == "uvicorn" else {1006, 1012, None}), codes
    assert attempts(whole, crowds) == [1] * len(crowds)
    assert p95(outages(crowds)) <= COME_BACK_S, sorted(outages(crowds))


async def end_web(web: ServerProcess) -> None:
    """SIGTERM: nobody is let in any more, and it ends in time."""
    begun = time.monotonic()
    web.send(signal.SIGTERM)
    refused = False
    while web.running():
        open_now = await asyncio.to_thread(_accepts, web.port)
        assert not (refused and open_now), "it let somebody in again"
        refused = not open_now
        assert time.monotonic() - begun < EXIT_S
        await asyncio.sleep(0.01)
    assert web.exit_code() == 0, web.log_text()[-3000:]
    if web.kind == "uvicorn":
        assert refused, "it ended so quickly that nobody could see it refuse"


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def stop_worker(whole: Deployment, visitor: Visitor, rng: random.Random) -> None:
    """A5: what ends within CHAT_DRAIN_SECONDS ends there, the rest is handed over, which is no failed attempt."""
    async with (
        stream(whole.urls(), visitor, runs=6, tabs=2, chunks=150) as long,
        stream(whole.urls(), visitor, runs=6, tabs=2, chunks=30) as short,
    ):
        await moment(rng, 0.5)
        victim = busy_worker(whole)
        pid = victim.pid
        begun = time.monotonic()
        assert await asyncio.to_thread(victim.stop) == 0
        assert time.monotonic() - begun < EXIT_S
        assert not holds(whole, pid)
        await asyncio.to_thread(victim.start)
    audit(whole, [*long, *short])
    assert attempts(whole, short) == [1] * len(short)
    rows = whole.stored.rows("SELECT attempt - handovers FROM chat_run WHERE id = ANY(?)", [each.run for each in long])
    assert rows == [(1,)] * len(long)
    assert 2 in attempts(whole, long)


async def kill_everything(whole: Deployment, visitor: Visitor, rng: random.Random) -> None:
    """A13: a power cut. Whatever was shown is in the log, and no run is left as if it were being written."""
    async with stream(whole.urls(), visitor, chunks=90) as crowds:
        await moment(rng, 1.8)
        await asyncio.to_thread(_power_cut, whole)
        await asyncio.to_thread(_power_on, whole)
    audit(whole, crowds)
    assert max(attempts(whole, crowds)) == 2


async def step_clock(whole: Deployment, visitor: Visitor, rng: random.Random, clock: Path) -> None:
    """A15: a worker's clock steps forth and back by an hour while a web process is five minutes ahead.

    A lease that ended by a local clock would be over at once. The database's clock counts, so nothing happens; and the
    runs of the skewed worker are taken over like those of any other.
    """
    skewed, other = whole.workers
    await asyncio.to_thread(other.stop)  # so that every run is the skewed one's
    async with stream(whole.urls(), visitor, tabs=2, chunks=300) as crowds:
        await asyncio.to_thread(other.start)
        for offset in rng.sample([HOUR_S, -HOUR_S], 2):
            set_clock(clock, offset)
            await asyncio.sleep(1.5)  # a tick of everybody, and some of the next
            assert attempts(whole, crowds) == [1] * len(crowds)
        pid = skewed.pid
        await asyncio.to_thread(skewed.kill)
        await until(lambda: not holds(whole, pid), TAKE_OVER_S)
        await asyncio.to_thread(skewed.start)
    audit(whole, crowds)
    assert attempts(whole, crowds) == [2] * len(crowds)


def set_clock(clock: Path, offset: float) -> None:
    """In place: the process keeps the file open."""
    clock.write_text(f"{offset:<32}")


def skew(process: ServerProcess, clock: Path, offset: float) -> None:
    """Start it anew with a clock of its own."""
    set_clock(clock, offset)
    process.stop()
    process.command = ("-m", "tests.skewed", str(clock), *type(process).command)
    process.start()


def _power_cut(whole: Deployment) -> None:
    for process in whole.processes:
        process.send(signal.SIGKILL)
    whole.postgres.kill()
    whole.redis.kill()
    for process in whole.processes:
        process.kill()


def _power_on(whole: Deployment) -> None:
    whole.postgres.start()
    whole.redis.start()
    whole.start_all()


async def roll(whole: Deployment, visitor: Visitor, *, runs: int = 100, chunks: int = 120, rate: float = 10) -> None:
    """A rolling deploy: one web process and one worker at a time, until every process is a new one."""
    old = [process.pid for process in whole.processes]
    async with stream(whole.urls(), visitor, runs=runs, tabs=1, chunks=chunks, rate=rate) as crowds:
        for pair in zip(whole.webs, whole.workers, strict=True):
            await asyncio.gather(*(asyncio.to_thread(_replace, process) for process in pair))
    audit(whole, crowds)
    assert set(old).isdisjoint(process.pid for process in whole.processes)
    sql = "SELECT attempt, handovers, count(*) FROM chat_run WHERE id = ANY(?) GROUP BY 1, 2"
    rows = whole.stored.rows(sql, [crowd.run for crowd in crowds])
    assert all(attempt - handovers == 1 for attempt, handovers, _ in rows), rows
    # All hundred come back to one process while two others start, on as few as two cores.
    assert p95(outages(crowds)) <= 2 * COME_BACK_S, sorted(outages(crowds))


def _replace(process: ServerProcess) -> None:
    assert process.stop() == 0
    process.start()
