"""kill -9 of the real server process while runs stream; the law that must hold afterwards."""

import asyncio
import random
import secrets
import time
from collections.abc import Sequence
from typing import NamedTuple

from tests.rig.survivor import Survivor
from tests.servers import ServerProcess
from tests.stored import Stored
from tests.upstream import Scenario, expected_text
from tests.visitors import Visitor
from tests.waiting import until
from tests.wsclient import Client, RunView

RUNS = 10
CHUNKS = 120
RATE = 60
MAX_ATTEMPTS = 2  # CHAT_MAX_ATTEMPTS
LEASE_S = 3  # CHAT_LEASE_SECONDS
ENV = {"CHAT_LEASE_SECONDS": str(LEASE_S)}


class Outcome(NamedTuple):
    views: list[RunView]
    connections: int
    completed: int
    restarted: int
    given_up: int
    seconds: float


async def survive_kills(server: ServerProcess, visitor: Visitor, kills: int, rng: random.Random) -> Outcome:
    """RUNS answers stream, `kills` times the server is killed and started again, and everybody comes back."""
    begun = time.monotonic()
    stored = Stored(server.database)
    seeds = [secrets.token_hex(4) for _ in range(RUNS)]
    survivors = [
        Survivor(Scenario(seed=seed, chunks=CHUNKS, rate=RATE).prompt, cookie=visitor.cookie, origin=server.origin)
        for seed in seeds
    ]
    waiting = [asyncio.create_task(survivor.run([server.ws])) for survivor in survivors]
    try:
        for kill in range(kills):
            await _streaming(survivors, stored, restarted=kill)
            await asyncio.sleep(rng.uniform(0, CHUNKS / RATE * 0.7))
            await asyncio.to_thread(_crash, server)
        views = await asyncio.gather(*waiting)
    finally:
        for task in waiting:
            task.cancel()
    check(survivors, seeds, stored)
    await _check_from_scratch(server, visitor, views)
    return Outcome(
        views=views,
        connections=sum(survivor.connections for survivor in survivors),
        completed=sum(ending(view) == "run.completed" for view in views),
        restarted=sum(view.restarts > 0 for view in views),
        given_up=sum(ending(view) == "run.failed" for view in views),
        seconds=time.monotonic() - begun,
    )


async def _streaming(survivors: Sequence[Survivor], stored: Stored, restarted: int) -> None:
    """All have seen text; after a kill: somebody took the runs over again."""
    await asyncio.gather(*(survivor.begun.wait() for survivor in survivors))
    if not restarted:
        return

    def taken_over() -> bool:
        return any(survivor.restarts >= restarted for survivor in survivors) or not stored.unended()

    await until(taken_over, LEASE_S + 15)


def _crash(server: ServerProcess) -> None:
    server.kill()
    server.start()


def check(survivors: Sequence[Survivor], seeds: Sequence[str], stored: Stored) -> None:
    assert stored.sound()
    assert stored.unended() == 0
    for survivor, seed in zip(survivors, seeds, strict=True):
        survivor.check(stored)
        view = survivor.view
        assert view is not None
        assert view.ended is not None
        whole = expected_text(seed, CHUNKS)
        if ending(view) == "run.completed":
            assert view.text == whole
        else:
            assert ending(view) == "run.failed", view.ended
            assert view.ended["error"]["code"] == "worker_lost", view.ended
            assert whole.startswith(view.text)
        attempts = stored.run(view.run)["attempt"]
        assert 1 <= attempts <= MAX_ATTEMPTS
        events = stored.events(view.run)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert sum(event.type in {"run.completed", "run.stopped", "run.failed"} for event in events) == 1
        restarts = [event.data["attempt"] for event in events if event.type == "run.restarted"]
        assert restarts == list(range(2, 2 + len(restarts)))


async def _check_from_scratch(server: ServerProcess, visitor: Visitor, views: Sequence[RunView]) -> None:
    """Who was never there reads the same as who lived through it."""
    async with Client.connect(server.ws, cookie=visitor.cookie, origin=server.origin) as client:
        for view in views:
            await client.follow(RunView(view.run))
            assert (await client.ended(view.run)).text == view.text


def ending(view: RunView) -> str:
    return str(view.ended["type"]) if view.ended else ""
