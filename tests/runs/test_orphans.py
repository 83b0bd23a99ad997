"""Stopping a run whose worker is dead: nobody is left to hear of it, and it ends all the same."""

import asyncio
from typing import Any

import pytest

from chat.runs.engine import Engine
from chat.runs.owner import Owner
from tests.fakes import ScriptedProvider
from tests.runs.helpers import Client, acheck, ask, crash, expire, freeze, get_run, wait_ended


async def orphan(engine: Engine, owner: Owner, provider: ScriptedProvider) -> Any:
    """A run with some text whose worker died."""
    provider.script = ["Old text", asyncio.Event()]
    accepted = await ask(engine, owner)
    client = Client(engine, owner, accepted.run)
    while client.answer.text != "Old text":
        assert await client.step()
    await crash(engine)
    return accepted.run


async def test_it_ends_at_once_when_its_lease_ran_out(
    make_engine: Any, alice: Owner, provider: ScriptedProvider
) -> None:
    run = await orphan(await make_engine(), alice, provider)
    await expire(run)
    web = await make_engine(worker=False)
    await freeze(web)
    await web.stop(alice, run)
    assert (await acheck(run)).status == "stopped"
    assert (await get_run(run)).message.text == "Old text"


@pytest.mark.parametrize("kind", ["a worker without room", "a process that executes nothing"])
async def test_it_ends_with_its_lease_though_nobody_can_take_it_over(
    make_engine: Any, alice: Owner, provider: ScriptedProvider, kind: str
) -> None:
    run = await orphan(await make_engine(), alice, provider)
    other = await make_engine(worker=kind == "a worker without room")
    other.capacity = 0
    await other.stop(alice, run)
    assert (await get_run(run)).status == "running", "its worker may be alive"
    await expire(run)
    ended = await wait_ended(other, alice, run)
    assert (ended.status, ended.attempt, ended.message.text) == ("stopped", 1, "Old text")
    assert provider.opened == 1
    await acheck(run)
