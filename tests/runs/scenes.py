"""What the suite plays a few times and `make chaos` thousands of times."""

import asyncio
import random
from uuid import UUID

from chat.runs.engine import Engine
from chat.runs.follow import snapshot
from chat.runs.owner import Owner
from tests.fakes import ScriptedProvider
from tests.runs.helpers import Client, acheck, ask, collect

STREAM = 1_000  # chunks of one run, at about 1,000 a second


async def joins(engine: Engine, owner: Owner, provider: ScriptedProvider, wanted: int) -> tuple[int, int]:
    """Snapshots joined to the live tail of runs that bring 1,000 chunks a second; (tried, survived)."""
    provider.script = [step for number in range(STREAM) for step in (f"{number} ", 0.0005)]
    text = "".join(f"{number} " for number in range(STREAM))
    tried = survived = 0
    while tried < wanted:
        accepted = await ask(engine, owner)
        joining: list[asyncio.Task[str]] = []
        while accepted.run in engine.generations and tried < wanted:
            joining.append(asyncio.create_task(_join(engine, owner, accepted.run, tried)))
            tried += 1
            await asyncio.sleep(0.004)
        survived += sum(found == text for found in await asyncio.gather(*joining))
        await acheck(accepted.run)
    return tried, survived


async def _join(engine: Engine, owner: Owner, run: UUID, number: int) -> str:
    """From the start, or from a snapshot on, as clients do; Client checks that nothing is missing or repeated."""
    client = Client(engine, owner, run)
    if number % 2:
        client.resume_from(await engine.readers.call(snapshot, run))
    return (await client.read()).answer.text


async def stop_races(engine: Engine, owner: Owner, provider: ScriptedProvider, wanted: int) -> tuple[int, int]:
    """Stops that race the end of the run; (tried, survived)."""
    dice = random.Random(20)
    survived = 0
    outcomes: set[str] = set()
    for _ in range(wanted):
        gate = asyncio.Event()
        provider.script = ["a", gate, "b"]
        accepted = await ask(engine, owner)
        reading = asyncio.create_task(collect(engine, owner, accepted.run))
        await asyncio.sleep(dice.random() * 0.004)
        # The stop has to pass the writer before it interrupts: give it a lead around what that takes, or none.
        stopping = asyncio.create_task(engine.stop(owner, accepted.run)) if dice.random() < 0.7 else None
        await asyncio.sleep(dice.random() * 0.006)
        gate.set()
        for _ in range(dice.randrange(8)):
            await asyncio.sleep(0)
        await (stopping or engine.stop(owner, accepted.run))
        await reading
        run = await acheck(accepted.run)
        outcomes.add(run.status)
        survived += run.status in {"stopped", "completed"}
    assert wanted < 50 or outcomes == {"stopped", "completed"}, "one of the two never won"
    return wanted, survived
