"""What the model is told: whole turns, the newest that fit."""

from typing import Any

from asgiref.sync import sync_to_async
from pytest_django.fixtures import Settings

from chat.models import ChatSession, Message
from chat.providers.base import ModelInfo, ProviderError
from chat.runs import context, tree
from chat.runs.engine import Engine
from chat.runs.owner import Owner
from chat.runs.tokens import TURN_TOKENS, estimate_tokens
from tests.fakes import ScriptedProvider
from tests.runs.helpers import acheck, ask, wait_ended


def turns(provider: ScriptedProvider) -> list[tuple[str, str]]:
    return [(turn.role, turn.text) for turn in provider.requests[-1].turns]


async def talk(engine: Engine, owner: Owner, *prompts: str) -> Any:
    accepted = await ask(engine, owner, prompts[0])
    await wait_ended(engine, owner, accepted.run)
    for prompt in prompts[1:]:
        accepted = await ask(engine, owner, prompt, session=accepted.session)
        await wait_ended(engine, owner, accepted.run)
    return accepted


async def test_it_works(engine: Engine, alice: Owner, provider: ScriptedProvider) -> None:
    provider.script = ["Sure."]
    await talk(engine, alice, "One", "Two")
    assert turns(provider) == [("user", "One"), ("assistant", "Sure."), ("user", "Two")]


async def test_only_the_branch_of_the_prompt_is_told(engine: Engine, alice: Owner, provider: ScriptedProvider) -> None:
    provider.script = ["Sure."]
    first = await talk(engine, alice, "One")
    await talk(engine, alice, "Elsewhere")
    for prompt in ("Left", "Right"):
        accepted = await ask(engine, alice, prompt, session=first.session, parent=first.message)
        await wait_ended(engine, alice, accepted.run)
    assert turns(provider) == [("user", "One"), ("assistant", "Sure."), ("user", "Right")]


async def test_an_answer_that_failed_empty_is_left_out(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    provider.script = [ProviderError("upstream_auth", "No.")]
    first = await talk(engine, alice, "One")
    provider.script = ["Half ", ProviderError("upstream_cut", "Cut.")]
    second = await ask(engine, alice, "Two", session=first.session)
    await wait_ended(engine, alice, second.run)
    third = await ask(engine, alice, "Three", session=first.session)
    await wait_ended(engine, alice, third.run)
    assert turns(provider) == [("user", "One"), ("user", "Two"), ("assistant", "Half "), ("user", "Three")]


async def test_whole_turns_are_cut_from_the_oldest_side(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    provider.known = [ModelInfo(id="alpha", label="Alpha", context_tokens=200)]
    provider.script = ["a" * 60]
    await talk(engine, alice, *(f"{number}".ljust(60, "p") for number in range(6)))
    told = turns(provider)
    assert [role for role, _ in told] == ["user", "assistant", "user", "assistant", "user"]
    assert [text[0] for role, text in told if role == "user"] == ["3", "4", "5"]
    assert sum(estimate_tokens(text) + TURN_TOKENS for _, text in told) <= 150


async def test_no_answer_is_told_without_its_prompt(engine: Engine, alice: Owner, provider: ScriptedProvider) -> None:
    provider.known = [ModelInfo(id="alpha", label="Alpha", context_tokens=200)]
    provider.script = ["short"]
    await talk(engine, alice, "p" * 410, "Two")
    assert turns(provider) == [("user", "Two")]


async def test_the_system_prompt_is_told_first_and_never_cut(
    engine: Engine, alice: Owner, provider: ScriptedProvider, settings: Settings
) -> None:
    settings.CHAT_SYSTEM_PROMPT = "You are kind. " * 10
    provider.known = [ModelInfo(id="alpha", label="Alpha", context_tokens=200)]
    provider.script = ["a" * 60]
    await talk(engine, alice, *["p" * 60] * 4)
    assert turns(provider)[0] == ("system", "You are kind. " * 10)
    assert turns(provider)[-1] == ("user", "p" * 60)


async def test_the_sessions_own_system_prompt_comes_before_the_default(
    engine: Engine, alice: Owner, provider: ScriptedProvider, settings: Settings
) -> None:
    settings.CHAT_SYSTEM_PROMPT = "Default."
    first = await talk(engine, alice, "One")
    assert turns(provider)[0] == ("system", "Default.")
    await ChatSession.objects.filter(id=first.session).aupdate(system_prompt="Own.")
    await wait_ended(engine, alice, (await ask(engine, alice, "Two", session=first.session)).run)
    assert turns(provider)[0] == ("system", "Own.")


async def test_a_prompt_that_alone_is_too_long_fails_the_run_and_asks_nobody(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    provider.known = [ModelInfo(id="alpha", label="Alpha", context_tokens=200)]
    accepted = await ask(engine, alice, "p" * 1000)
    run = await wait_ended(engine, alice, accepted.run)
    await acheck(accepted.run)
    assert (run.status, run.error_code, run.error_retryable) == ("failed", "context_too_long", False)
    assert provider.opened == 0


async def test_an_endless_session_is_read_only_as_far_as_any_window_reaches(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    first = await talk(engine, alice, "One")

    @sync_to_async
    def lengthen() -> Any:
        parent, rows = first.message, []
        for number in range(2 * context.MOST_MESSAGES):
            rows.append(
                Message(
                    session_id=first.session,
                    parent_id=parent,
                    role="assistant" if number % 2 else "user",
                    text=str(number),
                )
            )
            parent = rows[-1].id
        Message.objects.bulk_create(rows)
        return parent

    leaf = await lengthen()
    assert len(await sync_to_async(tree.path)(leaf)) == 2 * context.MOST_MESSAGES + 2
    await wait_ended(engine, alice, (await ask(engine, alice, "On", session=first.session, parent=leaf)).run)
    assert context.MOST_MESSAGES - 3 <= len(turns(provider)) <= context.MOST_MESSAGES
    assert turns(provider)[-1] == ("user", "On")
