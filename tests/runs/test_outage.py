"""The database goes away at a bad moment: what was committed is found again, what was not is tried again."""

import asyncio
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError
from pytest_django.fixtures import Settings

from chat.models import Run
from chat.models.ids import new_id
from chat.protocol.errors import ChatError
from chat.protocol.operations import PromptSend
from chat.runs import claim as claims
from chat.runs import context, duties, history, start
from chat.runs import engine as engine_module
from chat.runs.engine import Engine
from chat.runs.owner import Owner
from tests.runs.helpers import acheck, ask, collect, text_of, wait_ended

LOST = OperationalError("server closed the connection unexpectedly")


class Failing:
    """Fails at its first calls: `after` their work, or before it."""

    def __init__(self, function: Any, times: int = 1, *, after: bool = False) -> None:
        self.function = function
        self.left = times
        self.after = after
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        failing = self.left > 0
        self.left -= failing
        if failing and not self.after:
            raise LOST
        result = self.function(*args, **kwargs)
        if failing:
            raise LOST
        return result


async def test_a_prompt_whose_commit_was_not_acknowledged_is_one_run(
    engine: Engine, alice: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one without an id of the client's."""
    acknowledged = engine.writer.call
    lost = Failing(lambda: None)

    async def call(function: Any, *args: Any, **kwargs: Any) -> Any:
        result = await acknowledged(function, *args, **kwargs)
        lost()
        return result

    monkeypatch.setattr(engine.writer, "call", call)
    accepted = await ask(engine, alice)
    assert text_of(await collect(engine, alice, accepted.run)) == "Hello world"
    assert [run.id async for run in Run.objects.all()] == [accepted.run]
    run = await acheck(accepted.run)
    assert (run.status, run.attempt, lost.calls > 1) == ("completed", 1, True)


async def test_a_try_that_was_never_committed_begins_as_if_it_were_the_first(engine: Engine, alice: Owner) -> None:
    terms = start.Terms(frozenset({"alpha"}), "alpha", None, new_id())
    begun = await engine.writer.call(start.begin, alice, PromptSend(text="Hello"), terms, again=True)
    assert (begun.run, begun.repeat, begun.claim) == (terms.run, False, None)


async def test_a_run_whose_claim_was_not_acknowledged_is_given_back(
    make_engine: Any, alice: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await make_engine()
    engine.capacity = 0
    accepted = await ask(engine, alice)
    claiming = engine.writer.call
    lost = Failing(lambda: None)

    async def call(function: Any, *args: Any, **kwargs: Any) -> Any:
        result = await claiming(function, *args, **kwargs)
        if function is claims.claim_waiting:
            lost()
        return result

    monkeypatch.setattr(engine.writer, "call", call)
    monkeypatch.setattr(duties, "RENEWAL_SECONDS", 0.0)
    engine.capacity = 10
    run = await wait_ended(engine, alice, accepted.run)
    assert lost.calls > 1
    assert (run.status, run.handovers, run.attempt - run.handovers) == ("completed", 1, 1)


async def test_a_run_that_cannot_read_what_was_said_waits_for_the_database(
    engine: Engine, alice: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await ask(engine, alice)
    await wait_ended(engine, alice, first.run)
    away = Failing(context.turns_before, 2)
    monkeypatch.setattr(context, "turns_before", away)
    second = await ask(engine, alice, "And?", session=first.session)
    run = await wait_ended(engine, alice, second.run)
    assert (run.status, run.attempt, away.calls) == ("completed", 1, 3)


async def test_one_that_never_can_fails_as_storage(
    engine: Engine, alice: Owner, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    first = await ask(engine, alice)
    await wait_ended(engine, alice, first.run)
    settings.CHAT_STORAGE_TIMEOUT = 0.1
    monkeypatch.setattr(context, "turns_before", Failing(context.turns_before, 1000))
    second = await ask(engine, alice, "And?", session=first.session)
    run = await wait_ended(engine, alice, second.run)
    assert (run.status, run.error_code) == ("failed", "storage")


async def test_what_is_locked_is_tried_for_a_while_and_then_unavailable(
    engine: Engine, alice: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "is_locked", lambda _: True)
    accepted = await ask(engine, alice)
    await wait_ended(engine, alice, accepted.run)
    select = Failing(lambda *_: "leaf", 4)
    monkeypatch.setattr(history, "select", select)
    await engine.select_branch(alice, accepted.session, accepted.message)
    assert select.calls == 5
    monkeypatch.setattr(engine_module, "LOCKED_SECONDS", 0.2)
    select.left = 1000
    async with asyncio.timeout(5):
        with pytest.raises(ChatError) as refused:
            await engine.select_branch(alice, accepted.session, accepted.message)
    assert (refused.value.code, refused.value.retryable) == ("unavailable", True)


async def test_after_an_outage_leases_are_renewed_before_any_is_taken_over(
    make_engine: Any, alice: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await make_engine()
    engine.capacity = 0
    accepted = await ask(engine, alice)
    engine._duties._outage = asyncio.get_running_loop().time()
    engine.capacity = 10
    await engine._duties.claim()
    assert (await sync_to_async(Run.objects.get)(id=accepted.run)).status == "queued"
    await collect(engine, alice, accepted.run)
