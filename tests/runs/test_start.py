"""Prompts become messages and runs."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from chat.models import ChatSession, Message, Run
from chat.protocol.errors import ChatError
from chat.protocol.operations import MessageRegenerate, Options, PromptSend
from chat.runs.engine import Engine
from chat.runs.owner import Owner
from chat.runs.prompts import first_words
from tests.fakes import ScriptedProvider
from tests.runs.helpers import acheck, ask, collect, get_run, text_of, wait_ended


async def refused(engine: Engine, owner: Owner, asked: PromptSend | MessageRegenerate) -> ChatError:
    with pytest.raises(ChatError) as caught:
        await engine.start(owner, asked)
    return caught.value


async def message(id_: UUID) -> Message:
    return await Message.objects.aget(id=id_)


async def test_it_works(engine: Engine, alice: Owner) -> None:
    accepted = await engine.start(alice, PromptSend(text="Say hello"))
    events = await collect(engine, alice, accepted.run)
    assert [event.type for event in events] == ["run.started", *["text.delta"] * 4, "run.completed"]
    assert [event.seq for event in events] == [1, 2, 3, 4, 5, 6]
    assert text_of(events) == "Hello world"
    run = await acheck(accepted.run)
    assert (run.status, run.finish_reason, run.attempt) == ("completed", "stop", 1)


async def test_a_guest_may_ask_as_well(engine: Engine, charlie: Owner) -> None:
    accepted = await ask(engine, charlie)
    assert text_of(await collect(engine, charlie, accepted.run)) == "Hello world"


# Idempotency ------------------------------------------------------------------------------------------------------


async def test_the_same_id_and_body_again_give_the_same_run(engine: Engine, alice: Owner) -> None:
    first = await ask(engine, alice, id="one")
    again = await ask(engine, alice, id="one")
    assert again == first._replace(repeat=True, claim=None, title="")
    await wait_ended(engine, alice, first.run)
    assert (await ask(engine, alice, id="one")).run == first.run
    assert await Run.objects.acount() == 1
    assert await Message.objects.acount() == 2


@pytest.mark.parametrize(
    "other",
    [
        {"text": "Something else"},
        {"model": "beta"},
        {"options": Options(temperature=1)},
        {"options": Options(system="Be brief.")},
    ],
    ids=lambda other: next(iter(other)),
)
async def test_the_same_id_with_another_body_is_a_conflict(engine: Engine, alice: Owner, other: dict[str, Any]) -> None:
    await ask(engine, alice, id="one")
    error = await refused(engine, alice, PromptSend(**({"text": "Hello", "id": "one"} | other)))
    assert error.code == "conflict"
    assert await Run.objects.acount() == 1


async def test_ten_prompts_with_one_id_at_once_are_one_run(engine: Engine, alice: Owner) -> None:
    accepted = await asyncio.gather(*(ask(engine, alice, id="one") for _ in range(10)))
    assert len({each.run for each in accepted}) == 1
    assert sorted(each.repeat for each in accepted) == [False] + [True] * 9
    assert await Message.objects.acount() == 2
    assert await ChatSession.objects.acount() == 1


async def test_one_id_through_two_processes_is_one_run(engine: Engine, make_engine: Any, alice: Owner) -> None:
    other = await make_engine()
    accepted = await asyncio.gather(*(ask(each, alice, id="one") for each in [engine, other] * 5))
    assert len({each.run for each in accepted}) == 1
    assert await Run.objects.acount() == 1


async def test_an_id_is_free_again_after_a_day(engine: Engine, alice: Owner) -> None:
    first = await ask(engine, alice, id="one")
    await wait_ended(engine, alice, first.run)
    runs = Run.objects.filter(id=first.run)
    await runs.aupdate(created=timezone.now() - timedelta(hours=23, minutes=59))
    assert (await ask(engine, alice, id="one")).repeat
    await runs.aupdate(created=timezone.now() - timedelta(hours=24, minutes=1))
    second = await ask(engine, alice, id="one")
    assert second.run != first.run
    assert not second.repeat
    assert (await ask(engine, alice, id="one")).run == second.run


async def test_prompts_and_regenerations_share_their_ids(engine: Engine, alice: Owner) -> None:
    first = await ask(engine, alice, id="one")
    await wait_ended(engine, alice, first.run)
    assert (await refused(engine, alice, MessageRegenerate(id="one", message=first.message))).code == "conflict"
    again = await engine.start(alice, MessageRegenerate(id="two", message=first.message))
    assert (await engine.start(alice, MessageRegenerate(id="two", message=first.message))).run == again.run
    assert (await refused(engine, alice, PromptSend(id="two", text="Hello"))).code == "conflict"


async def test_an_id_belongs_to_its_user(engine: Engine, alice: Owner, bob: Owner, charlie: Owner) -> None:
    accepted = [await ask(engine, owner, f"From {owner}", id="one") for owner in (alice, bob, charlie)]
    assert len({each.run for each in accepted}) == 3


async def test_prompts_without_an_id_are_never_repeats(engine: Engine, alice: Owner) -> None:
    assert (await ask(engine, alice)).run != (await ask(engine, alice)).run


async def test_a_repeat_is_no_new_prompt_to_the_limits(engine: Engine, alice: Owner, settings: Settings) -> None:
    settings.CHAT_PROMPTS_PER_MINUTE = 1
    first = await ask(engine, alice, id="one")
    assert (await ask(engine, alice, id="one")).run == first.run


# The tree ---------------------------------------------------------------------------------------------------------


async def test_without_a_parent_the_prompt_goes_under_the_active_answer(engine: Engine, alice: Owner) -> None:
    first = await ask(engine, alice)
    await wait_ended(engine, alice, first.run)
    second = await ask(engine, alice, "And now?", session=first.session)
    assert second.session == first.session
    assert (await message(second.user_message)).parent_id == first.message
    assert (await message(second.message)).parent_id == second.user_message
    assert (await ChatSession.objects.aget()).active_leaf_id == second.message


async def test_a_parent_of_null_makes_another_first_prompt(engine: Engine, alice: Owner) -> None:
    first = await ask(engine, alice)
    edited = await ask(engine, alice, "Hello again", session=first.session, parent=None)
    assert (await message(edited.user_message)).parent_id is None
    assert edited.session == first.session


async def test_an_edit_is_a_sibling_of_the_prompt_it_edits(engine: Engine, alice: Owner) -> None:
    first = await ask(engine, alice)
    await wait_ended(engine, alice, first.run)
    second = await ask(engine, alice, "Secnod", session=first.session)
    await wait_ended(engine, alice, second.run)
    edit = await ask(engine, alice, "Second", session=first.session, parent=first.message)
    assert (await message(edit.user_message)).parent_id == (await message(second.user_message)).parent_id


async def test_another_answer_is_a_sibling_of_the_first(engine: Engine, alice: Owner) -> None:
    first = await ask(engine, alice)
    await wait_ended(engine, alice, first.run)
    again = await engine.start(alice, MessageRegenerate(message=first.message, model="beta"))
    assert again.user_message == first.user_message
    answer = await message(again.message)
    assert (answer.parent_id, answer.model) == (first.user_message, "beta")
    assert (await ChatSession.objects.aget()).active_leaf_id == again.message


async def test_a_parent_must_lie_in_the_session(engine: Engine, alice: Owner) -> None:
    one, two = await ask(engine, alice), await ask(engine, alice)
    for parent in (two.message, uuid4()):
        error = await refused(engine, alice, PromptSend(text="a", session=one.session, parent=parent))
        assert error.code == "not_found"


async def test_a_parent_needs_its_session(engine: Engine, alice: Owner) -> None:
    one = await ask(engine, alice)
    error = await refused(engine, alice, PromptSend(text="a", parent=one.message))
    assert (error.code, error.field) == ("bad_frame", "parent")


async def test_only_an_answer_can_be_regenerated(engine: Engine, alice: Owner) -> None:
    one = await ask(engine, alice)
    error = await refused(engine, alice, MessageRegenerate(message=one.user_message))
    assert (error.code, error.field) == ("bad_frame", "message")


async def test_a_refused_prompt_leaves_nothing_behind(engine: Engine, alice: Owner) -> None:
    await refused(engine, alice, PromptSend(text="a", model="no such"))
    assert (await ChatSession.objects.acount(), await Message.objects.acount(), await Run.objects.acount()) == (0, 0, 0)


# Busy -------------------------------------------------------------------------------------------------------------


async def test_a_prompt_on_a_branch_that_is_being_written_is_busy(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    gate = asyncio.Event()
    provider.script = [gate, "done"]
    first = await ask(engine, alice)
    error = await refused(engine, alice, PromptSend(text="And?", session=first.session))
    assert (error.code, error.retryable) == ("busy", True)
    gate.set()
    await wait_ended(engine, alice, first.run)
    await ask(engine, alice, "And?", session=first.session)


async def test_a_prompt_on_another_branch_is_welcome_meanwhile(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    gate = asyncio.Event()
    first = await ask(engine, alice)
    await wait_ended(engine, alice, first.run)
    provider.script = [gate, "done"]
    second = await ask(engine, alice, "Left", session=first.session)
    other = await ask(engine, alice, "Right", session=first.session, parent=first.message)
    third = await engine.start(alice, MessageRegenerate(message=second.message))
    gate.set()
    for each in (second, other, third):
        assert (await wait_ended(engine, alice, each.run)).status == "completed"


async def test_of_two_tabs_that_send_at_once_one_is_busy(
    engine: Engine, make_engine: Any, alice: Owner, provider: ScriptedProvider
) -> None:
    first = await ask(engine, alice)
    await wait_ended(engine, alice, first.run)
    gate = asyncio.Event()
    provider.script = [gate, "done"]
    other = await make_engine()
    results = await asyncio.gather(
        *(ask(each, alice, f"Tab {n}", session=first.session) for n, each in enumerate([engine, other])),
        return_exceptions=True,
    )
    errors = [each for each in results if isinstance(each, ChatError)]
    assert [error.code for error in errors] == ["busy"]
    gate.set()
    for each in results:
        if not isinstance(each, BaseException):
            await wait_ended(engine, alice, each.run)


# Ownership --------------------------------------------------------------------------------------------------------


async def test_what_is_somebody_elses_is_not_found(
    engine: Engine, alice: Owner, bob: Owner, charlie: Owner, provider: ScriptedProvider
) -> None:
    gate = asyncio.Event()
    provider.script = [gate, "done"]
    hers = await ask(engine, alice)
    for other in (bob, charlie, Owner(guest=""), Owner(guest="somebody")):
        for attempt in (
            engine.start(other, PromptSend(text="a", session=hers.session)),
            engine.start(other, PromptSend(text="a", session=hers.session, parent=hers.message)),
            engine.start(other, MessageRegenerate(message=hers.message)),
            engine.follow(other, hers.run),
            engine.stop(other, hers.run),
            engine.state(other, hers.session),
            engine.select_branch(other, hers.session, hers.message),
        ):
            with pytest.raises(ChatError) as theirs:
                await attempt
            assert theirs.value.code == "not_found"
    gate.set()
    assert (await wait_ended(engine, alice, hers.run)).status == "completed"


async def test_what_is_somebody_elses_is_refused_in_the_words_for_what_does_not_exist(
    engine: Engine, alice: Owner, bob: Owner
) -> None:
    hers = await ask(engine, alice)
    for theirs, nobodys in (
        (PromptSend(text="a", session=hers.session), PromptSend(text="a", session=uuid4())),
        (MessageRegenerate(message=hers.message), MessageRegenerate(message=uuid4())),
    ):
        assert str(await refused(engine, bob, theirs)) == str(await refused(engine, bob, nobodys))


# Limits -----------------------------------------------------------------------------------------------------------


async def test_so_many_runs_at_once_and_no_more(
    engine: Engine, alice: Owner, bob: Owner, provider: ScriptedProvider, settings: Settings
) -> None:
    settings.CHAT_RUNS_PER_USER = 2
    gate = asyncio.Event()
    provider.script = [gate, "done"]
    first = await ask(engine, alice)
    await ask(engine, alice)
    error = await refused(engine, alice, PromptSend(text="a"))
    assert error.code == "rate_limited"
    assert error.retry_after_s
    await ask(engine, bob)
    gate.set()
    await wait_ended(engine, alice, first.run)
    await ask(engine, alice)


async def test_so_many_prompts_a_minute_and_no_more(
    engine: Engine, alice: Owner, bob: Owner, settings: Settings
) -> None:
    settings.CHAT_PROMPTS_PER_MINUTE = 3
    for _ in range(3):
        await wait_ended(engine, alice, (await ask(engine, alice)).run)
    assert (await refused(engine, alice, PromptSend(text="a"))).code == "rate_limited"
    await ask(engine, bob)
    await Run.objects.aupdate(created=timezone.now() - timedelta(seconds=61))
    await ask(engine, alice)


# Model and title --------------------------------------------------------------------------------------------------


async def test_an_unknown_model_is_refused(engine: Engine, alice: Owner) -> None:
    error = await refused(engine, alice, PromptSend(text="a", model="omega"))
    assert (error.code, error.field) == ("unknown_model", "model")
    assert "alpha, beta" in error.message


async def test_a_model_once_chosen_stays_with_the_session(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    first = await ask(engine, alice, model="beta")
    await wait_ended(engine, alice, first.run)
    second = await ask(engine, alice, session=first.session)
    assert (await get_run(second.run)).model == "beta"


async def test_a_session_whose_model_is_gone_falls_back_to_the_default(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    first = await ask(engine, alice, model="beta")
    await wait_ended(engine, alice, first.run)
    provider.known = provider.known[:1]
    second = await ask(engine, alice, session=first.session)
    assert (await get_run(second.run)).model == "alpha"


async def test_options_reach_the_model(engine: Engine, alice: Owner, provider: ScriptedProvider) -> None:
    accepted = await ask(engine, alice, options=Options(temperature=0.5, max_output_tokens=7, system="Be brief."))
    await wait_ended(engine, alice, accepted.run)
    request = provider.requests[0]
    assert (request.model, request.temperature, request.max_output_tokens) == ("alpha", 0.5, 7)
    assert [(turn.role, turn.text) for turn in request.turns] == [("system", "Be brief."), ("user", "Hello")]


@pytest.mark.parametrize(
    "prompt, title",
    [
        ("Hello", "Hello"),
        ("  Hello \n\n world\t ", "Hello world"),
        ("word " * 30, "word " * 11 + "word…"),
        ("x" * 100, "x" * 60 + "…"),
        ("ü" * 60, "ü" * 60),
    ],
    ids=["short", "white space", "long", "one long word", "exact"],
)
async def test_the_first_words_are_the_title(engine: Engine, alice: Owner, prompt: str, title: str) -> None:
    accepted = await ask(engine, alice, prompt)
    assert (await ChatSession.objects.aget(id=accepted.session)).title == title == first_words(prompt)


async def test_a_caller_that_leaves_halfway_leaves_no_run_without_a_writer(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    for steps in range(12):
        asking = asyncio.create_task(ask(engine, alice, f"Prompt {steps}"))
        for _ in range(steps):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    asking = asyncio.create_task(ask(engine, alice))
    await asyncio.sleep(0.002)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await engine.writer.call(lambda: None)
    async for run in Run.objects.all():
        await wait_ended(engine, alice, run.id)
    assert {(run.status, run.attempt) async for run in Run.objects.all()} == {("completed", 1)}


async def test_a_run_without_room_here_waits_in_the_queue(alice: Owner, make_engine: Any) -> None:
    full = await make_engine(worker=False)
    full.capacity = 0
    accepted = await ask(full, alice)
    assert (await get_run(accepted.run)).status == "queued"
    await make_engine()
    assert text_of(await collect(full, alice, accepted.run)) == "Hello world"
