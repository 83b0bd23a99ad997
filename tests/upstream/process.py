"""The upstream in a thread of its own (for sync tests) or in a process of its own (chaos, bench)."""

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.upstream.script import Scenario
from tests.upstream.server import UpstreamServer

ROOT = Path(__file__).resolve().parents[2]


def new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # not on every platform
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


@contextmanager
def running_upstream(
    scenario: Scenario | None = None, *, api_key: str | None = None, models: dict[str, int | None] | None = None
) -> Iterator[UpstreamServer]:
    upstream = UpstreamServer(scenario, api_key=api_key, models=models)
    started = threading.Event()
    ending: list[Callable[[], object]] = []

    async def serve() -> None:
        async with upstream:
            end = asyncio.Event()
            loop = asyncio.get_running_loop()
            ending.append(lambda: loop.call_soon_threadsafe(end.set))
            started.set()
            await end.wait()

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                runner.run(serve())
        finally:
            started.set()

    thread = threading.Thread(target=run, name="upstream", daemon=True)
    thread.start()
    started.wait()
    if not ending:
        raise RuntimeError("the upstream did not start")
    try:
        yield upstream
    finally:
        ending[0]()
        thread.join(10)


@contextmanager
def upstream_process(*arguments: str) -> Iterator[str]:
    """The base URL of an upstream in its own process; it ends with the block, or with this process."""
    command = [sys.executable, "-m", "tests.upstream", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            base_url = process.stdout.readline().strip()
            if not base_url:
                raise RuntimeError("the upstream did not start")
            yield base_url
        finally:
            process.stdin.close()
            process.wait(10)


@contextmanager
def closed_port() -> Iterator[str]:
    """A base URL that refuses connections; the port stays ours, so nobody else can begin to listen on it."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{holder.getsockname()[1]}/v1"


async def serve_until_told(upstream: UpstreamServer) -> None:
    """Print the base URL, then serve until SIGTERM, SIGINT or the end of a piped stdin."""
    loop, end = asyncio.get_running_loop(), asyncio.Event()

    def read_stdin() -> None:
        if not os.read(0, 4096):
            loop.remove_reader(0)
            end.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end.set)
    kind = os.fstat(0).st_mode
    if stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind):  # /dev/null and terminals say nothing about the parent
        loop.add_reader(0, read_stdin)
    async with upstream:
        print(upstream.base_url, flush=True)
        await end.wait()
