"""Executing a run: deltas become events, every failure keeps the partial text, every answer has its numbers."""

import asyncio
import contextvars
import json
import time
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import DatabaseError, connection
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from chat.eventlog import LogWriter, log
from chat.eventlog import writer as writer_module
from chat.eventlog.append import append
from chat.models import Run, RunEvent
from chat.protocol.events import MERGED_CHARS, decode_ended
from chat.providers.base import (
    Finish,
    ProviderError,
    ReasoningDelta,
    Request,
    TextDelta,
    UpstreamAccepted,
    Usage,
)
from chat.runs import execute
from chat.runs.engine import Engine
from chat.runs.finish import Outcome, end
from chat.runs.owner import Owner
from chat.runs.tokens import estimate_tokens
from tests.fakes import ScriptedProvider, Step
from tests.runs.helpers import acheck, ask, collect, data, text_of, until, wait_ended

TABLE = RunEvent._meta.db_table


@sync_to_async
def sql(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


async def test_it_works(engine: Engine, alice: Owner) -> None:
    run = await wait_ended(engine, alice, (await ask(engine, alice)).run)
    assert (run.status, run.message.text, run.message.status) == ("completed", "Hello world", "done")
    assert run.message.parts == [{"type": "text", "text": "Hello world"}]
    assert run.first_token_ms is not None
    assert run.total_ms is not None
    assert 0 <= run.first_token_ms <= run.total_ms
    assert engine.generations == {}


async def test_reasoning_and_text_are_parts_of_their_own(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    provider.script = [ReasoningDelta("Hm"), ReasoningDelta("m. "), "So: ", ReasoningDelta("Or?"), "no", "pe"]
    accepted = await ask(engine, alice)
    events = await collect(engine, alice, accepted.run)
    assert [(event.type, data(event)["part"]) for event in events[1:-1]] == [
        ("reasoning.delta", 0),
        ("reasoning.delta", 0),
        ("text.delta", 1),
        ("reasoning.delta", 2),
        ("text.delta", 3),
        ("text.delta", 3),
    ]
    run = await acheck(accepted.run)
    assert run.message.text == "So: nope"
    assert [part["text"] for part in run.message.parts] == ["Hmm. ", "So: ", "Or?", "nope"]


async def test_an_empty_delta_is_no_event_and_begins_no_part(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    provider.script = [ReasoningDelta(""), TextDelta(""), "a", ReasoningDelta(""), "b"]
    accepted = await ask(engine, alice)
    events = await collect(engine, alice, accepted.run)
    assert [(event.type, data(event)["part"]) for event in events[1:-1]] == [("text.delta", 0)] * 2
    assert (await acheck(accepted.run)).message.text == "ab"


async def test_a_huge_delta_becomes_events_of_a_bounded_size(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    text = "ü" * (MERGED_CHARS * 3 + 7)
    provider.script = [text]
    accepted = await ask(engine, alice)
    events = await collect(engine, alice, accepted.run)
    assert [len(data(event)["text"]) for event in events[1:-1]] == [MERGED_CHARS] * 3 + [7]
    assert text_of(events) == text
    await acheck(accepted.run)


async def test_an_answer_of_nothing_is_a_whole_answer(engine: Engine, alice: Owner, provider: ScriptedProvider) -> None:
    provider.script = [Finish("stop")]
    accepted = await ask(engine, alice)
    assert [event.type for event in await collect(engine, alice, accepted.run)] == ["run.started", "run.completed"]
    assert (await acheck(accepted.run)).message.parts == []


@pytest.mark.parametrize("reason", ["stop", "length", "content_filter"])
async def test_why_the_model_stopped_is_told(
    engine: Engine, alice: Owner, provider: ScriptedProvider, reason: Any
) -> None:
    provider.script = ["a", Finish(reason)]
    accepted = await ask(engine, alice)
    events = await collect(engine, alice, accepted.run)
    assert data(events[-1])["finish_reason"] == reason
    assert (await acheck(accepted.run)).finish_reason == reason


# Usage ------------------------------------------------------------------------------------------------------------


async def test_usage_is_what_the_upstream_counted(engine: Engine, alice: Owner, provider: ScriptedProvider) -> None:
    provider.script = ["a", Usage(input_tokens=9, output_tokens=5, reasoning_tokens=2), Finish("stop")]
    accepted = await ask(engine, alice)
    ended = decode_ended((await collect(engine, alice, accepted.run))[-1].data)
    usage = ended.usage
    assert (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens, usage.estimated) == (9, 5, 2, False)
    run = await acheck(accepted.run)
    assert (run.input_tokens, run.output_tokens, run.reasoning_tokens, run.usage_estimated) == (9, 5, 2, False)


@pytest.mark.parametrize("steps", [["Some text"], ["Some text", ProviderError("upstream_cut", "Cut.")]])
async def test_usage_that_nobody_counted_is_estimated_and_marked(
    engine: Engine, alice: Owner, provider: ScriptedProvider, steps: list[Any]
) -> None:
    provider.script = steps
    accepted = await ask(engine, alice, "A prompt")
    usage = decode_ended((await collect(engine, alice, accepted.run))[-1].data).usage
    assert usage.estimated
    assert usage.output_tokens == estimate_tokens("Some text") > 0
    assert usage.input_tokens >= estimate_tokens("A prompt")
    assert (await acheck(accepted.run)).usage_estimated


# Failures ---------------------------------------------------------------------------------------------------------


async def test_a_failure_keeps_the_text_and_hides_the_upstreams_words(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    error = ProviderError(
        "upstream_rate_limited",
        "The model is busy. Try again soon.",
        retryable=True,
        status=429,
        request_id="req-7",
        detail="org-secret has used 400,000 tokens",
    )
    provider.script = [UpstreamAccepted("req-6", 1), "Half ", "an answer", error]
    accepted = await ask(engine, alice)
    events = await collect(engine, alice, accepted.run)
    assert events[-1].type == "run.failed"
    assert data(events[-1])["error"] == {
        "code": "upstream_rate_limited",
        "message": "The model is busy. Try again soon.",
        "retryable": True,
        "status": 429,
        "request_id": "req-7",
    }
    run = await acheck(accepted.run)
    assert (run.message.text, run.message.status) == ("Half an answer", "failed")
    assert (run.error_code, run.error_status, run.request_id, run.retries) == (
        "upstream_rate_limited",
        429,
        "req-7",
        1,
    )
    assert run.error_detail == "org-secret has used 400,000 tokens"
    state = await engine.state(alice, accepted.session)
    assert "org-secret" not in repr(events) + repr(state)


async def test_a_bug_in_a_provider_is_an_internal_error_without_its_words(
    engine: Engine, alice: Owner, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(ScriptedProvider):
        async def stream(self, request: Request) -> Any:
            yield [TextDelta("Half")]
            raise ZeroDivisionError("secret")

    engine.provider = Broken()
    accepted = await ask(engine, alice)
    events = await collect(engine, alice, accepted.run)
    assert data(events[-1])["error"]["code"] == "internal"
    assert "secret" not in repr(events)
    assert "ZeroDivisionError" in caplog.text
    assert (await acheck(accepted.run)).message.text == "Half"


async def test_text_that_cannot_be_stored_fails_the_run_and_does_not_hang_it(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    provider.script = ["Fine, ", "\ud800"]
    accepted = await ask(engine, alice)
    async with asyncio.timeout(5):
        run = await wait_ended(engine, alice, accepted.run)
    await acheck(accepted.run)
    assert (run.status, run.error_code, run.message.text) == ("failed", "internal", "Fine, ")


async def test_characters_that_json_escapes_survive(engine: Engine, alice: Owner, provider: ScriptedProvider) -> None:
    text = '"\\\n\t\x01\x7f\u2028\u202e😀e\u0301</script>'
    provider.script = list(text)
    accepted = await ask(engine, alice)
    assert text_of(await collect(engine, alice, accepted.run)) == text
    assert (await acheck(accepted.run)).message.text == text


async def test_a_nul_that_postgres_takes_in_no_text_is_replaced(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    provider.script = ["a\0", "\0b"]
    accepted = await ask(engine, alice)
    assert text_of(await collect(engine, alice, accepted.run)) == "a\ufffd\ufffdb"
    run = await acheck(accepted.run)
    assert (run.status, run.message.text) == ("completed", "a\ufffd\ufffdb")


async def test_a_run_inherits_nothing_of_the_request_that_started_it(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="fresh")
    seen: list[str] = []

    def script(_: Request) -> list[str]:
        seen.append(variable.get())
        return ["a"]

    provider.script = script
    variable.set("of the request")
    await wait_ended(engine, alice, (await ask(engine, alice)).run)
    assert seen == ["fresh"]


async def test_a_model_faster_than_the_database_is_slowed_down(
    engine: Engine, alice: Owner, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 0

    def slow(batch: Any) -> Any:
        nonlocal most
        most = max(most, *(lease.unflushed for lease, _ in batch))
        time.sleep(0.02)
        return append(batch)

    monkeypatch.setattr(writer_module, "append", slow)
    provider.script = ["x"] * 3000
    accepted = await ask(engine, alice)
    assert text_of(await collect(engine, alice, accepted.run)) == "x" * 3000
    assert most <= 513
    await acheck(accepted.run)


# The database goes away -------------------------------------------------------------------------------------------


async def test_a_run_rides_out_a_database_that_comes_back(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    gate = asyncio.Event()
    provider.script = ["a", gate, "b", "c"]
    accepted = await ask(engine, alice)
    reading = asyncio.create_task(collect(engine, alice, accepted.run))
    await until(lambda: engine.writer._last_commit > 0 and provider.opened == 1)
    await engine.writer.call(lambda: None)
    await sql(f"ALTER TABLE {TABLE} RENAME TO away")
    gate.set()
    await asyncio.sleep(0.3)
    await sql(f"ALTER TABLE away RENAME TO {TABLE}")
    assert text_of(await reading) == "abc"
    run = await acheck(accepted.run)
    assert (run.status, run.attempt) == ("completed", 1)


async def test_an_end_that_the_database_refused_is_written_again(
    engine: Engine, alice: Owner, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = 0

    def refusing(*args: Any) -> Any:
        nonlocal refused
        refused += 1
        if refused <= 2:
            raise DatabaseError("the database is locked")
        return end(*args)

    monkeypatch.setattr(execute, "end", refusing)
    accepted = await ask(engine, alice)
    assert text_of(await collect(engine, alice, accepted.run)) == "Hello world"
    run = await acheck(accepted.run)
    assert (run.status, run.attempt, refused) == ("completed", 1, 3)


async def test_the_upstream_can_tell_users_apart_and_learns_no_name(
    engine: Engine, alice: Owner, bob: Owner, provider: ScriptedProvider
) -> None:
    for owner in (alice, alice, bob):
        await collect(engine, owner, (await ask(engine, owner)).run)
    first, second, other = (request.user for request in provider.requests)
    assert first == second != other
    assert len(first) == 32
    assert alice.requester not in first


@pytest.mark.parametrize("tokens", [-1, 2**64], ids=["refused by the database", "refused by its driver"])
async def test_an_end_that_can_never_be_stored_fails_the_run_and_does_not_hang_it(
    tokens: int, engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    provider.script = ["Half", Usage(input_tokens=tokens, output_tokens=1)]
    accepted = await ask(engine, alice)
    async with asyncio.timeout(5):
        await collect(engine, alice, accepted.run)
    run = await acheck(accepted.run)
    assert (run.status, run.error_code, run.attempt, run.message.text) == ("failed", "storage", 1, "Half")


async def test_an_end_whose_commit_was_not_acknowledged_is_written_once_and_seen(
    engine: Engine, alice: Owner, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = LogWriter.call
    lost: list[Any] = []

    async def unacknowledged(self: LogWriter, function: Any, *args: Any, **kwargs: Any) -> Any:
        found = await real(self, function, *args, **kwargs)
        if any(isinstance(each, Outcome) for each in args) and not lost:
            lost.append(found)
            raise DatabaseError("server closed the connection unexpectedly")
        return found

    monkeypatch.setattr(LogWriter, "call", unacknowledged)
    accepted = await ask(engine, alice)
    async with asyncio.timeout(10):
        events = await collect(engine, alice, accepted.run)
    assert lost == [lost[0]]
    assert events[-1].type == "run.completed"
    await acheck(accepted.run)


async def test_an_answer_whose_end_was_given_up_by_the_log_has_no_gap_and_is_not_called_complete(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    gate = asyncio.Event()
    provider.script = ["stored ", gate, "lost ", "lost"]
    engine.writer._patience = 0.1
    accepted = await ask(engine, alice)
    reading = asyncio.create_task(collect(engine, alice, accepted.run))

    async def two_stored() -> bool:
        return len(await sync_to_async(log.read_all)(accepted.run)) == 2

    await until(two_stored)
    await sql(f"ALTER TABLE {TABLE} RENAME TO away")
    gate.set()
    lease = engine.generations[accepted.run].lease
    await until(lambda: lease.broken)
    await sql(f"ALTER TABLE away RENAME TO {TABLE}")
    events = await reading
    assert text_of(events) == "stored "
    assert data(events[-1])["error"]["code"] == "storage"
    run = await acheck(accepted.run)
    assert (run.status, run.error_code, run.message.text) == ("failed", "storage", "stored ")


async def test_a_database_that_stays_away_too_long_fails_the_run_once_it_is_back(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    gate = asyncio.Event()
    writing: list[Step] = ["x", 0.01] * 200
    provider.script = ["stored", gate, *writing, asyncio.Event()]
    engine.writer._patience = 0.1
    accepted = await ask(engine, alice)
    await until(lambda: provider.opened == 1)
    await engine.writer.call(lambda: None)
    await sql(f"ALTER TABLE {TABLE} RENAME TO away")
    gate.set()
    await until(lambda: provider.closed == 1)
    await asyncio.sleep(0.1)
    await sql(f"ALTER TABLE away RENAME TO {TABLE}")
    run = await wait_ended(engine, alice, accepted.run)
    await acheck(accepted.run)
    assert (run.status, run.error_code, run.attempt) == ("failed", "storage", 1)
    assert json.dumps(run.message.parts) == '[{"type": "text", "text": "stored"}]'


@hypothesis_settings(max_examples=20, deadline=None)
@given(st.text(max_size=200))
def test_an_estimate_is_never_none_for_some_text(text: str) -> None:
    assert (estimate_tokens(text) > 0) == bool(text)


async def test_so_many_runs_at_once_are_all_right(
    engine: Engine, alice: Owner, provider: ScriptedProvider, settings: Settings
) -> None:
    provider.script = [step for number in range(30) for step in (f"{number} ", 0.002)]
    accepted = await asyncio.gather(*(ask(engine, alice, f"Prompt {number}") for number in range(60)))
    await asyncio.gather(*(collect(engine, alice, each.run) for each in accepted))
    for each in accepted:
        assert (await acheck(each.run)).status == "completed"
    assert await Run.objects.filter(attempt=1).acount() == 60


async def test_an_endless_answer_ends_at_the_limit(
    engine: Engine, alice: Owner, provider: ScriptedProvider, settings: Settings
) -> None:
    settings.CHAT_ANSWER_CHARS = 10
    provider.script = ["12345"] * 50
    accepted = await ask(engine, alice)
    events = await collect(engine, alice, accepted.run)
    assert text_of(events) == "1234512345"
    assert data(events[-1])["finish_reason"] == "length"
    assert provider.closed == 1
