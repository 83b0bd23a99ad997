"""A chat session whose row somebody else holds, and how the others fare meanwhile."""

import asyncio
import itertools
import math
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import NamedTuple
from uuid import UUID

import psycopg

from tests.rig import Deployment
from tests.upstream import Scenario
from tests.visitors import Visitor
from tests.wsclient import Client, Frame

RATE = 40
WAITING = 8  # sockets that want the locked chat session, more than there are threads
PAUSE_S = 0.05


class Fared(NamedTuple):
    """Seconds, at the 99th percentile: between two frames of a stream, and from a prompt to run.accepted."""

    gap: float
    reply: float


class Outcome(NamedTuple):
    before: Fared
    during: Fared
    replies: list[Frame]  # to those who wanted the locked one
    longest: float  # that one of them waited


async def locked(whole: Deployment, visitor: Visitor, seconds: float = 3) -> Outcome:
    """Others' streams and prompts for some seconds without a lock, then with one."""
    origin = whole.webs[0].origin
    async with AsyncExitStack() as stack:

        async def client(number: int) -> Client:
            url = whole.urls()[number % len(whole.webs)]
            return await stack.enter_async_context(Client.connect(url, cookie=visitor.cookie, origin=origin))

        first = await client(0)
        accepted = await first.prompt(Scenario(seed="locked", chunks=3).prompt)
        await first.ended(accepted["run"])
        stuck = [await client(number) for number in range(WAITING)]
        streams = [await client(number) for number in range(4)]
        asking = [await client(number) for number in range(2)]
        before = await _fare(streams, asking, seconds)
        with psycopg.connect(whole.postgres.url) as holder:
            holder.execute("SELECT 1 FROM chat_chatsession WHERE id = %s FOR UPDATE", [UUID(accepted["session"])])
            wanting = [asyncio.create_task(_want(each, accepted["session"], seconds)) for each in stuck]
            during = await _fare(streams, asking, seconds)
            waits = [wait for task in wanting for wait in await task]
        again = await stuck[0].prompt(Scenario(seed="free", chunks=1).prompt, session=accepted["session"])
        await stuck[0].ended(again["run"])
    return Outcome(before, during, [frame for frame, _ in waits], max(wait for _, wait in waits))


async def _want(client: Client, session: str, seconds: float) -> list[tuple[Frame, float]]:
    waits: list[tuple[Frame, float]] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.monotonic()
        frame = await client.ask("prompt.send", text="me too", session=session)
        waits.append((frame, time.monotonic() - begun))
    return waits


async def _fare(streams: Sequence[Client], asking: Sequence[Client], seconds: float) -> Fared:
    gaps = [asyncio.create_task(_gaps(client, seconds)) for client in streams]
    replies = [asyncio.create_task(_replies(client, seconds)) for client in asking]
    return Fared(
        _p99([gap for task in gaps for gap in await task]), _p99([reply for task in replies for reply in await task])
    )


async def _gaps(client: Client, seconds: float) -> list[float]:
    accepted = await client.prompt(Scenario(seed="flows", chunks=round(seconds * RATE), rate=RATE).prompt)
    at: list[float] = []
    while client.view(accepted["run"]).ended is None:
        if (await client.read())["type"] == "text.delta":
            at.append(time.monotonic())
    return [later - earlier for earlier, later in itertools.pairwise(at)]


async def _replies(client: Client, seconds: float) -> list[float]:
    found: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.monotonic()
        accepted = await client.prompt(Scenario(seed="short", chunks=1).prompt)
        found.append(time.monotonic() - begun)
        with suppress(TimeoutError):
            await client.ended(accepted["run"])
        await asyncio.sleep(PAUSE_S)
    return found


def _p99(values: Sequence[float]) -> float:
    return sorted(values)[math.ceil(len(values) * 0.99) - 1]
