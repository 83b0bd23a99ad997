"""Load on a deployment, by the load client of the bench; what it leaves behind; and readers that lag behind."""

import asyncio
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin

from tests.bench import procs
from tests.bench.job import Measured
from tests.bench.workloads import Workload
from tests.rig import Deployment, OwnRedis, audit, stream
from tests.servers import ROOT, ServerProcess
from tests.upstream import Scenario
from tests.visitors import Visitor
from tests.waiting import until
from tests.wsclient import Client, RunView, Who

CONVERGED_S = 2.0
TRIES = 3
OTHERS = 0.15  # of all CPUs
NOISE_MS = 60  # below, twice as slow is within what this machine does by itself
MORE_RSS = 50 * 1024 * 1024
HUGE = Scenario(seed="huge", chunks=5, huge_chunk=3_900_000)


async def measure(whole: Deployment, workload: Workload) -> Measured:
    """Raises if anything was lost."""
    ports, pids = [web.port for web in whole.webs], [process.pid for process in whole.processes]
    job = workload.job(ports, True, pids, os.getpid())
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "tests.bench.client")
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, cwd=ROOT)
    out, _ = await process.communicate(msgspec.json.encode(job))
    assert process.returncode == 0
    measured = msgspec.json.decode(out, type=Measured)
    assert measured.lost == []
    assert measured.chunks == workload.sockets * workload.chunks
    return measured


class BusyMachineError(Exception):
    """Something else took so much of the CPU that a latency says nothing."""


async def measure_alone(whole: Deployment, workload: Workload) -> Measured:
    """Again while others take more of the machine than OTHERS. Raises BusyMachineError."""
    for _ in range(TRIES):
        began, busy, own = time.monotonic(), _busy_seconds(), procs.cpu_seconds(os.getpid())
        measured = await measure(whole, workload)
        others = _busy_seconds() - busy - (procs.cpu_seconds(os.getpid()) - own)
        if others <= OTHERS * (time.monotonic() - began) * (os.cpu_count() or 1):
            return measured
    raise BusyMachineError


def _busy_seconds() -> float:
    """Of all CPUs, since the start of the machine; proc(5), stat."""
    user, nice, system, _, _, irq, softirq, steal = Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
    return sum(map(int, (user, nice, system, irq, softirq, steal))) / procs.TICK


@dataclass(frozen=True)
class Held:
    """What the processes of a deployment hold on to."""

    files: int  # of the web processes: a worker keeps connections to the upstream for a while
    threads: int
    postgres: int
    redis: int
    rss: int


def held(whole: Deployment) -> Held:
    return Held(
        files=sum(len(list(Path(f"/proc/{web.pid}/fd").iterdir())) for web in whole.webs),
        threads=sum(len(list(Path(f"/proc/{process.pid}/task").iterdir())) for process in whole.processes),
        postgres=whole.postgres.connections(),
        redis=_clients(whole.redis),
        rss=sum(process.rss_bytes() for process in whole.processes),
    )


def _clients(redis: OwnRedis) -> int:
    with redis.client() as client:
        return len(client.client_list()) - 1  # without this one


class Laggard:
    """Follows a run that is longer than all buffers on the way, and reads a frame now and then, or none at all.

    `acks`: it has opted in to the window of flow control and never acknowledges a thing.
    """

    def __init__(self, run: str, *, acks: bool = False, pause: float | None = None) -> None:
        self.view = RunView(run)
        self.acks = acks
        self.pause = pause
        self.closed: int | None = None

    async def lag(self, web: ServerProcess, who: Who) -> None:
        """Until the server closes, or for ever."""
        with socket.socket() as narrow:
            narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            narrow.connect(("127.0.0.1", web.port))
            async with connect(
                web.ws,
                sock=narrow,
                additional_headers={"Cookie": who["cookie"]},
                origin=Origin(who["origin"]),
                max_queue=1,
                compression=None,
                proxy=None,
                ping_interval=None,
                close_timeout=0.1,
            ) as connection:
                client = Client(connection)
                await client.follow(self.view)
                if self.acks:
                    await client.send("ack", run=self.view.run, seq=0)
                try:
                    await self._read(client)
                except ConnectionClosed:
                    self.closed = connection.close_code

    async def _read(self, client: Client) -> None:
        while self.acks:
            await client.read()
        if self.pause is None:
            await asyncio.Event().wait()
        while self.view.ended is None:
            await asyncio.sleep(self.pause or 0)
            await client.read()

    async def resume(self, web: ServerProcess, who: Who) -> str:
        """What it has in the end, after reading the rest like anybody."""
        async with Client.connect(web.ws, **who) as client:
            await client.follow(self.view)
            return (await client.ended(self.view.run)).text


@asynccontextmanager
async def laggards(whole: Deployment, who: Who, lagging: Sequence[Laggard]) -> AsyncIterator[None]:
    """All at the first web process, lagging behind until the end of the block."""
    tasks = [asyncio.create_task(each.lag(whole.webs[0], who)) for each in lagging]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome


async def many_tabs(whole: Deployment, visitor: Visitor, *, runs: int, tabs: int, chunks: int, rate: float) -> None:
    """D3: each tab has every chunk, and all of a run end within a moment."""
    async with stream(whole.urls(), visitor, runs=runs, tabs=tabs, chunks=chunks, rate=rate) as crowds:
        pass
    audit(whole, crowds)
    for crowd in crowds:
        ends = [client.ended_at for client in crowd.clients]
        assert max(ends) - min(ends) <= CONVERGED_S


async def lag_beside(
    whole: Deployment, visitor: Visitor, normal: Workload, *, silent: int, deaf: int, slow: int, ack_timeout: float
) -> None:
    """D5: readers that lag behind cost bounded memory, slow nobody and resume exactly.

    `silent` ones have said that they would acknowledge, and are closed; `deaf` ones read nothing, `slow` ones little.
    """
    who = Who(cookie=visitor.cookie, origin=whole.webs[0].origin)
    async with Client.connect(whole.webs[0].ws, **who) as client:
        run = (await client.prompt(HUGE.prompt))["run"]
        await client.ended(run)
    alone = (await measure_alone(whole, normal)).added_p99_ms
    most = max(2 * alone, NOISE_MS)
    rss = whole.webs[0].rss_bytes()
    acking = [Laggard(run, acks=True) for _ in range(silent)]
    others = [*(Laggard(run) for _ in range(deaf)), *(Laggard(run, pause=0.5) for _ in range(slow))]
    async with laggards(whole, who, [*acking, *others]):
        # What lags slows the others each time, if it does; a moment of the machine's own only once.
        beside = [(await measure_alone(whole, normal)).added_p99_ms]
        while min(beside) > most and len(beside) < TRIES:
            beside.append((await measure_alone(whole, normal)).added_p99_ms)
        await until(lambda: all(each.closed == 4408 for each in acking), ack_timeout + 5)
        assert whole.webs[0].rss_bytes() - rss <= MORE_RSS
    assert min(beside) <= most, (alone, beside)
    for each in (acking[0], others[-1]):
        assert each.view.ended is None, "it was to be slow"
        assert await each.resume(whole.webs[1], who) == HUGE.text
