"""A run may be interrupted at any of its awaits: it ends once, or waits to be taken over; it is never stuck."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from chat.models import Run
from chat.runs.engine import Engine
from chat.runs.execute import Generation
from chat.runs.owner import Owner
from tests.fakes import ScriptedProvider
from tests.runs.helpers import acheck, ask, expire, get_run, nothing_left_active, until, wait_ended

Cut = Callable[[Generation], object]

CUTS: dict[str, Cut] = {
    "stop": lambda generation: generation.interrupt("stop"),
    "shutdown": lambda generation: generation.interrupt("shutdown"),
    "fenced": lambda generation: generation.interrupt("fenced"),
    "storage": lambda generation: generation.interrupt("storage"),
    "torn down": lambda generation: generation.task and generation.task.cancel(),
}


class Stepped(Coroutine[Any, Any, None]):
    """A coroutine that counts its steps; at the await that ends step number `at`, `cut` is called."""

    def __init__(self, inner: Coroutine[Any, Any, None], at: int, cut: Callable[[], object]) -> None:
        self.inner = inner
        self.at = at
        self.cut = cut
        self.steps = 0

    def _step(self) -> None:
        self.steps += 1
        if self.steps == self.at:
            asyncio.get_running_loop().call_soon(self.cut)

    def send(self, value: Any) -> Any:
        self._step()
        return self.inner.send(value)

    def throw(self, *error: Any) -> Any:
        self._step()
        return self.inner.throw(*error)

    def close(self) -> None:
        self.inner.close()

    def __await__(self) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize("cut", CUTS)
async def test_an_interruption_at_any_await_leaves_no_run_stuck(
    engine: Engine,
    make_engine: Any,
    alice: Owner,
    provider: ScriptedProvider,
    monkeypatch: pytest.MonkeyPatch,
    cut: str,
) -> None:
    provider.script = ["Hel", 0, "lo ", 0.001, "wor", 0, "ld"]
    generate = Engine._generate
    stepped: list[Stepped] = []
    at = 0

    def counting(self: Engine, generation: Generation) -> Stepped:
        stepped.append(Stepped(generate(self, generation), at, lambda: CUTS[cut](generation)))
        return stepped[-1]

    statuses: list[str] = []
    while not stepped or stepped[-1].steps >= at:
        at += 1
        monkeypatch.setattr(Engine, "_generate", counting)
        accepted = await ask(engine, alice)
        await until(lambda: not engine.generations)
        monkeypatch.setattr(Engine, "_generate", generate)
        run = await get_run(accepted.run)
        statuses.append(run.status)
        if run.ended is None:
            await expire(accepted.run)
            run = await wait_ended(engine, alice, accepted.run)
        await acheck(accepted.run)
        assert run.attempt <= 2
    assert at > 5
    assert provider.closed == provider.opened
    assert statuses[-1] == "completed"
    assert (
        set(statuses)
        == {
            "stop": {"stopped", "completed"},
            "storage": {"failed", "completed"},
            "shutdown": {"running", "completed"},
            "fenced": {"running", "completed"},
            "torn down": {"running", "completed"},
        }[cut]
    )
    await sync_to_async(nothing_left_active)()
    assert not await Run.objects.filter(attempt__gt=2).aexists()
