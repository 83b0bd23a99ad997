"""The load client: many WebSockets in one cheap process, which also reads the server's CPU and memory.

It shares its core with the upstream, so a frame is only cut out, stamped and kept; it is read when all is over.
`python -m tests.bench.client` takes a Job on stdin and writes a Measured to stdout.
"""

import asyncio
import gc
import itertools
import random
import sys
import time
import uuid
from typing import cast

import msgspec
import uvloop

from tests.bench import procs, readings, wire
from tests.bench.job import Job, Measured

CONNECTING_AT_ONCE = 50
CONNECT_S = 20.0
SETTLE_S = 1.0
AFTERMATH_S = 0.5


class Socket(asyncio.Protocol):
    def __init__(self, job: Job, port: int) -> None:
        self.job = job
        self.port = port
        self.reader: wire.FrameReader | None = None
        self.head = b""
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.done: asyncio.Future[None] | None = None
        self.stream: readings.Stream | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(wire.upgrade_request(self.port, self.job.path))

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if self.reader is None:
            rest = self.upgraded(data)
            if rest is None:
                return
            data = rest
        assert self.reader is not None
        for opcode, payload in self.reader.feed(data):
            if opcode == wire.TEXT:
                self.text(now, payload)
            elif opcode == wire.PING:
                self.transport.write(wire.client_frame(payload, wire.PONG))
            elif opcode == wire.CLOSE:
                self.end(f"closed with {int.from_bytes(payload[:2])} {payload[2:].decode()}")

    def upgraded(self, data: bytes) -> bytes | None:
        self.head += data
        head, found, rest = self.head.partition(b"\r\n\r\n")
        if not found:
            return None
        if b" 101 " not in head.split(b"\r\n")[0]:
            self.ready.set_exception(wire.WireError(head.split(b"\r\n")[0].decode()))
            self.transport.close()
            return None
        self.reader = wire.FrameReader()
        if not self.job.greets:
            self.ready.set_result(None)
        return rest

    def text(self, now: float, payload: bytes) -> None:
        if self.stream is None:
            if not self.ready.done():
                self.ready.set_result(None)
            return
        self.stream.frames.append((now, payload))
        if readings.ends(payload):
            self.end("")

    def end(self, problem: str) -> None:
        if not self.ready.done():
            self.ready.set_exception(wire.WireError(problem))
        if self.done is not None and not self.done.done():
            if self.stream is not None:
                self.stream.closed = problem
            self.stream = None
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.end(f"connection lost: {exc}")

    async def ask(self, wait_s: float, streams: list[readings.Stream]) -> None:
        await asyncio.sleep(wait_s)
        self.done = asyncio.get_running_loop().create_future()
        operation = {"type": "prompt.send", "id": uuid.uuid4().hex, "text": self.job.prompt}
        stream = self.stream = readings.Stream(time.monotonic())
        streams.append(stream)
        self.transport.write(wire.client_frame(msgspec.json.encode(operation)))
        try:
            await asyncio.wait_for(self.done, self.job.timeout_s)
        except TimeoutError:
            self.stream = None
            stream.closed = f"not ended after {self.job.timeout_s:.0f} s"


async def connect(job: Job, port: int, turns: asyncio.Semaphore) -> Socket:
    async with turns:
        _, socket = await asyncio.get_running_loop().create_connection(lambda: Socket(job, port), "127.0.0.1", port)
        await asyncio.wait_for(socket.ready, CONNECT_S)
        return socket


async def measure(job: Job) -> Measured:
    before = procs.rss_bytes(*job.server_pids)
    turns = asyncio.Semaphore(CONNECTING_AT_ONCE)
    ports = itertools.islice(itertools.cycle(job.ports), job.sockets)
    sockets = await asyncio.gather(*(connect(job, port, turns) for port in ports))
    result = Measured()
    if job.chunks:
        await stream(job, sockets, result)
    else:
        # Watched, not waited for: what an idle socket keeps is only known once connecting is over.
        await asyncio.sleep(SETTLE_S)
        result.socket_kb = (procs.rss_bytes(*job.server_pids) - before) / job.sockets / 1000
    result.rss_mb = procs.rss_bytes(*job.server_pids) / 1e6
    for socket in sockets:
        socket.transport.close()
    return result


async def stream(job: Job, sockets: list[Socket], result: Measured) -> None:
    idle_per_s = await _idle_cpu(job)
    offsets = random.Random(1)
    streams: list[readings.Stream] = []
    began, server, load = time.monotonic(), procs.cpu_seconds(*job.server_pids), _load_cpu(job)
    for _ in range(job.rounds):
        await asyncio.gather(*(socket.ask(offsets.uniform(0, job.spread_s), streams) for socket in sockets))
    took, load = time.monotonic() - began, _load_cpu(job) - load
    # What a server still does after the last frame belongs to the run as well.
    await asyncio.sleep(AFTERMATH_S)
    server = procs.cpu_seconds(*job.server_pids) - server - idle_per_s * (time.monotonic() - began)
    result.load_core = load / took
    _evaluate(streams, job, result)
    result.cpu_us = server / max(result.chunks, 1) * 1e6


async def _idle_cpu(job: Job) -> float:
    before = procs.cpu_seconds(*job.server_pids)
    await asyncio.sleep(job.idle_s)
    return (procs.cpu_seconds(*job.server_pids) - before) / job.idle_s


def _load_cpu(job: Job) -> float:
    return time.process_time() + procs.cpu_seconds(job.upstream_pid)


def _evaluate(streams: list[readings.Stream], job: Job, result: Measured) -> None:
    read = [readings.read(stream, job.chunks) for stream in streams]
    added = sorted(second for reading in read for second in reading.added_s)
    result.chunks = len(added)
    result.frames = sum(len(stream.frames) for stream in streams)
    result.lost = [reading.problem for reading in read if reading.problem]
    result.first_ms = [reading.first_s * 1000 for reading in read if reading.added_s]
    given = [reading for reading in read if reading.given_s > 0]
    result.stretch = max((reading.taken_s / reading.given_s for reading in given), default=0.0)
    result.upstream_s = max((reading.given_s for reading in given), default=0.0)
    if added:
        result.added_p50_ms = added[len(added) // 2] * 1000
        result.added_p99_ms = added[min(int(len(added) * 0.99), len(added) - 1)] * 1000


def main() -> None:
    # Nothing here lives in cycles, and a pause of the collector would count as the server's latency.
    gc.disable()
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(measure(job))))


if __name__ == "__main__":
    main()
