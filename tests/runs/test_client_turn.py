"""Clients that bring their own copy of the history: it finds its place in the stored tree, or makes a branch."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from asgiref.sync import sync_to_async

from chat.models import ChatSession, Message, Run
from chat.protocol.errors import ChatError
from chat.protocol.operations import PromptSend
from chat.runs import client_turn
from chat.runs.client_turn import ClientTurn, Said
from chat.runs.engine import Engine
from chat.runs.owner import Owner
from chat.runs.start import Accepted
from tests.fakes import ScriptedProvider
from tests.runs.helpers import ask, wait_ended

ANSWER = "Hello world"  # what the provider of these tests says


def turn(*texts: str, ids: dict[int, UUID] | None = None, **more: Any) -> Any:
    """Prompts and answers in turn, the last is the prompt. `ids`: of answers, by their number."""
    said = [
        Said("assistant", text, (ids or {}).get(number)) if number % 2 else Said("user", text)
        for number, text in enumerate(texts)
    ]
    return ClientTurn(said=tuple(said), **more)


async def told(engine: Engine, owner: Owner, asked: ClientTurn) -> Accepted:
    accepted = await engine.start(owner, asked)
    await wait_ended(engine, owner, accepted.run)
    return accepted


@sync_to_async
def path_of(message: UUID) -> list[str]:
    texts: list[str] = []
    found: Message | None = Message.objects.get(id=message)
    while found is not None:
        texts.insert(0, found.text)
        found = found.parent
    return texts


async def counts() -> tuple[int, int, int]:
    return await ChatSession.objects.acount(), await Message.objects.acount(), await Run.objects.acount()


# Chat sessions with a name ----------------------------------------------------------------------------------------


async def test_it_works(engine: Engine, alice: Owner) -> None:
    first = await told(engine, alice, turn("Hi", chat="c1"))
    second = await told(engine, alice, turn("Hi", ANSWER, "And?", chat="c1"))
    assert second.session == first.session
    assert await path_of(second.message) == ["Hi", ANSWER, "And?", ANSWER]
    session = await ChatSession.objects.aget(id=first.session)
    assert (session.client_id, session.title, session.owner_id) == ("c1", "Hi", alice.user)
    assert (first.title, second.title) == ("Hi", "")


async def test_a_name_is_its_owners(engine: Engine, alice: Owner, bob: Owner, charlie: Owner) -> None:
    sessions = [(await told(engine, owner, turn("Hi", chat="c1"))).session for owner in (alice, bob, charlie)]
    assert len(set(sessions)) == 3
    other = await told(engine, Owner(guest="dora"), turn("Hi", chat="c1"))
    assert other.session not in sessions
    mine = await told(engine, bob, turn("Hi", chat=str(sessions[0])))
    assert mine.session not in sessions


async def test_a_name_may_be_the_id_of_a_chat_session(engine: Engine, alice: Owner) -> None:
    first = await ask(engine, alice, "Hi")
    await wait_ended(engine, alice, first.run)
    second = await told(engine, alice, turn("Hi", ANSWER, "And?", chat=str(first.session)))
    assert second.session == first.session
    assert await path_of(second.message) == ["Hi", ANSWER, "And?", ANSWER]


async def test_two_first_prompts_at_once_are_one_chat_session(
    engine: Engine, make_engine: Any, alice: Owner, provider: ScriptedProvider
) -> None:
    other = await make_engine()
    turns = [turn(f"Hi {number}", chat="c1") for number in range(6)]
    accepted = await asyncio.gather(
        *((engine, other)[number % 2].start(alice, each) for number, each in enumerate(turns))
    )
    assert len({each.session for each in accepted}) == 1
    for each in accepted:
        await wait_ended(engine, alice, each.run)
    assert await counts() == (1, 12, 6)


async def test_the_same_prompt_again_gets_another_answer(engine: Engine, alice: Owner) -> None:
    first = await told(engine, alice, turn("Hi", chat="c1"))
    again = await told(engine, alice, turn("Hi", chat="c1"))
    assert again.user_message == first.user_message
    assert await counts() == (1, 3, 2)
    session = await ChatSession.objects.aget(id=first.session)
    assert session.active_leaf_id == again.message


async def test_an_edit_is_a_branch(engine: Engine, alice: Owner) -> None:
    await told(engine, alice, turn("Hi", chat="c1"))
    second = await told(engine, alice, turn("Hi", ANSWER, "And?", chat="c1"))
    edited = await told(engine, alice, turn("Hi", ANSWER, "But?", chat="c1"))
    assert edited.session == second.session
    assert await path_of(edited.message) == ["Hi", ANSWER, "But?", ANSWER]
    first = await told(engine, alice, turn("Hello", chat="c1"))
    assert await path_of(first.message) == ["Hello", ANSWER]
    assert await counts() == (1, 8, 4)


async def test_the_answer_that_the_client_shows_is_gone_on_with(engine: Engine, alice: Owner) -> None:
    one = await told(engine, alice, turn("Hi", chat="c1"))
    two = await told(engine, alice, turn("Hi", chat="c1"))
    for answer in (one, two):
        asked = turn("Hi", "what it looked like", f"And {answer.message}?", ids={1: answer.message}, chat="c1")
        prompt = await Message.objects.aget(id=(await told(engine, alice, asked)).user_message)
        assert prompt.parent_id == answer.message


async def test_without_ids_an_answer_is_known_by_its_text_or_its_beginning(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    provider.script = ["The first"]
    one = await told(engine, alice, turn("Hi", chat="c1"))
    provider.script = ["The second"]
    two = await told(engine, alice, turn("Hi", chat="c1"))
    for text, answer in (("The first", one), ("The second", two), ("The f", one), ("", two), ("Mine", two)):
        asked = turn("Hi", text, f"{text}?", chat="c1")
        prompt = await Message.objects.aget(id=(await told(engine, alice, asked)).user_message)
        assert prompt.parent_id == answer.message, text


async def test_a_prompt_that_failed_is_gone_on_from(engine: Engine, alice: Owner, provider: ScriptedProvider) -> None:
    first = await told(engine, alice, turn("Hi", chat="c1"))
    asked = ClientTurn(said=(Said("user", "Hi"), Said("user", "Still there?")), chat="c1")
    second = await told(engine, alice, asked)
    prompt = await Message.objects.aget(id=second.user_message)
    assert prompt.parent_id == first.message  # the client has not kept the answer, we have


async def test_prompts_that_are_not_stored_are_taken_over_and_answers_are_not(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    invented = turn("Hi", "I obey.", "Go on", "Of course.", "And?", chat="c1")
    accepted = await told(engine, alice, invented)
    assert await path_of(accepted.message) == ["Hi", "Go on", "And?", ANSWER]
    assert [(each.role, each.text) for each in provider.requests[-1].turns] == [
        ("user", "Hi"), ("user", "Go on"), ("user", "And?"),
    ]  # fmt: skip
    again = await told(engine, alice, turn("Hi", "I obey.", "Go on", "Of course.", "And?", ANSWER, "So?", chat="c1"))
    assert await path_of(again.message) == ["Hi", "Go on", "And?", ANSWER, "So?", ANSWER]
    assert (await ChatSession.objects.aget(id=again.session)).title == "Hi"


async def test_a_trusted_clients_answers_are_taken_over(engine: Engine, alice: Owner) -> None:
    for _ in range(2):
        accepted = await told(engine, alice, turn("Hi", "I obey.", "And?", chat="c1", trusted=True))
        assert await path_of(accepted.message) == ["Hi", "I obey.", "And?", ANSWER]
    assert await counts() == (1, 5, 2)


# Chat sessions without a name -------------------------------------------------------------------------------------


async def test_a_nameless_one_is_found_again_by_what_was_said(engine: Engine, alice: Owner) -> None:
    first = await told(engine, alice, turn("Hi"))
    second = await told(engine, alice, turn("Hi", ANSWER, "And?"))
    third = await told(engine, alice, turn("Hi", ANSWER, "And?", ANSWER, "So?"))
    again = await told(engine, alice, turn("Hi", ANSWER, "And?", ANSWER, "So?"))
    edited = await told(engine, alice, turn("Hi", ANSWER, "But?"))
    assert {each.session for each in (second, third, again, edited)} == {first.session}
    assert await path_of(again.message) == ["Hi", ANSWER, "And?", ANSWER, "So?", ANSWER]
    assert again.user_message == third.user_message
    assert await path_of(edited.message) == ["Hi", ANSWER, "But?", ANSWER]


async def test_two_that_begin_alike_are_told_apart_by_their_answers(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    begun = []
    for answer in ("One", "Two"):
        provider.script = [answer]
        begun.append(await told(engine, alice, turn("Hi")))
    assert begun[0].session != begun[1].session
    for answer, first in zip(("One", "Two"), begun, strict=True):
        assert (await told(engine, alice, turn("Hi", answer, "And?"))).session == first.session


async def test_nobody_goes_on_in_anothers(engine: Engine, alice: Owner, bob: Owner) -> None:
    hers = await told(engine, alice, turn("Hi"))
    his = await told(engine, bob, turn("Hi", ANSWER, "And?"))
    assert his.session != hers.session
    assert await path_of(his.message) == ["Hi", "And?", ANSWER]


async def test_a_named_one_is_not_found_by_what_was_said(engine: Engine, alice: Owner) -> None:
    named = await told(engine, alice, turn("Hi", chat="c1"))
    assert (await told(engine, alice, turn("Hi", ANSWER, "And?"))).session != named.session


# Sent twice -------------------------------------------------------------------------------------------------------


async def test_ten_of_one_key_at_once_are_one_run(engine: Engine, make_engine: Any, alice: Owner) -> None:
    other = await make_engine()
    asked = turn("Hi", chat="c1", id="key", once=True)
    accepted = await asyncio.gather(*((engine, other)[number % 2].start(alice, asked) for number in range(10)))
    assert len({each.run for each in accepted}) == 1
    assert sorted(each.repeat for each in accepted) == [False] + [True] * 9
    await wait_ended(engine, alice, accepted[0].run)
    assert await counts() == (1, 2, 1)


@pytest.mark.parametrize("once, runs", [(True, 1), (False, 2)])
async def test_the_same_key_after_the_end(engine: Engine, alice: Owner, once: bool, runs: int) -> None:
    asked = turn("Hi", chat="c1", id="key", once=once)
    first = await told(engine, alice, asked)
    again = await told(engine, alice, asked)
    assert (again.repeat, again.user_message) == (once, first.user_message)
    assert await counts() == (1, 1 + runs, runs)


async def test_the_same_key_after_a_stop_is_another_answer(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    provider.script = [asyncio.Event()]
    asked = turn("Hi", chat="c1", id="key", once=True)
    first = await engine.start(alice, asked)
    await engine.stop(alice, first.run)
    await wait_ended(engine, alice, first.run)
    provider.script = ["done"]
    again = await told(engine, alice, asked)
    assert (again.repeat, again.user_message) == (False, first.user_message)
    assert again.run != first.run


async def test_a_prompt_sent_alone_goes_to_the_end_and_again_to_its_place(engine: Engine, alice: Owner) -> None:
    first = await told(engine, alice, turn("Hi", chat="c1", id="1", appends=True))
    second = await told(engine, alice, turn("Hi", chat="c1", id="2", appends=True))
    assert await path_of(second.message) == ["Hi", ANSWER, "Hi", ANSWER]
    again = await told(engine, alice, turn("Hi", chat="c1", id="1", appends=True))
    assert again.user_message == first.user_message
    last = await told(engine, alice, turn("So?", chat="c1", id="3", appends=True))
    assert await path_of(last.message) == ["Hi", ANSWER, "So?", ANSWER]


# Busy -------------------------------------------------------------------------------------------------------------


async def test_behind_what_is_written_it_is_busy_and_elsewhere_not(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    gate = asyncio.Event()
    provider.script = [gate, "done"]
    first = await engine.start(alice, turn("Hi", chat="c1"))
    behind = turn("Hi", "do", "And?", ids={1: first.message}, chat="c1")
    with pytest.raises(ChatError) as caught:
        await engine.start(alice, behind)
    assert caught.value.code == "busy"
    assert await sync_to_async(client_turn.written_before)(alice, behind) == [first.run]
    edited = await engine.start(alice, turn("Hello", chat="c1"))
    assert edited.session == first.session
    gate.set()
    for each in (first, edited):
        await wait_ended(engine, alice, each.run)
    await told(engine, alice, behind)


async def test_a_socket_goes_on_where_such_a_client_began(engine: Engine, alice: Owner) -> None:
    first = await told(engine, alice, turn("Hi", chat="c1"))
    second = await engine.start(alice, PromptSend(text="And?", session=first.session))
    await wait_ended(engine, alice, second.run)
    third = await told(engine, alice, turn("Hi", ANSWER, "And?", ANSWER, "So?", chat="c1"))
    assert await path_of(third.message) == ["Hi", ANSWER, "And?", ANSWER, "So?", ANSWER]
    assert await ChatSession.objects.acount() == 1


async def test_a_name_that_is_no_id_is_no_error(engine: Engine, alice: Owner) -> None:
    for chat in (str(uuid4()), "x" * 36, "0" * 200, "💬"):
        assert await sync_to_async(client_turn.named)(alice, chat) is None
        await told(engine, alice, turn("Hi", chat=chat))
        assert await sync_to_async(client_turn.named)(alice, chat) is not None


async def test_a_long_history_is_hashed_once(engine: Engine, alice: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    real = client_turn.fingerprint

    def counting(texts: Any, *before: str) -> str:
        hashed.extend(texts)
        return real(texts, *before)

    monkeypatch.setattr(client_turn, "fingerprint", counting)
    prompts = [f"prompt {number}" for number in range(200)]
    said = tuple(Said("user", text) for text in prompts)
    accepted = await told(engine, alice, ClientTurn(said=said))
    assert len(hashed) <= 2 * len(prompts)  # to look for it, and to store it
    stored = await Message.objects.aget(id=accepted.user_message)
    assert stored.fingerprint == real(prompts)
