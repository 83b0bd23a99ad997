"""A chat session is named by the model after its first answer, unless that is off or somebody named it."""

import asyncio
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from chat.models import ChatSession
from chat.providers.base import ProviderError, Request
from chat.runs.engine import Engine
from chat.runs.notices import SessionNotice
from chat.runs.owner import Owner
from tests.fakes import ScriptedProvider
from tests.runs.helpers import ask, until, wait_ended


@pytest.fixture(autouse=True)
def titles(settings: Settings, plain: None) -> None:
    settings.CHAT_AUTO_TITLE = True


async def settled(engine: Engine) -> None:
    """Nothing is left to do but what is done for ever."""
    await until(lambda: not engine.generations and not engine._titling)


async def session(accepted: Any) -> ChatSession:
    return await ChatSession.objects.aget(id=accepted.session)


async def test_it_works(engine: Engine, alice: Owner) -> None:
    heard: list[Any] = []
    engine.listeners.append(heard.append)
    accepted = await ask(engine, alice, "Hello there")
    await wait_ended(engine, alice, accepted.run)
    await settled(engine)
    found = await session(accepted)
    assert (found.title, found.titled_by) == ("A title", "model")
    titles = [notice.changes.get("title") for notice in heard if isinstance(notice, SessionNotice)]
    assert titles == ["Hello there", "A title"]


async def test_only_the_first_answer_makes_a_title(engine: Engine, alice: Owner, provider: ScriptedProvider) -> None:
    accepted = await ask(engine, alice)
    await wait_ended(engine, alice, accepted.run)
    await settled(engine)
    provider.title = "Another"
    await wait_ended(engine, alice, (await ask(engine, alice, session=accepted.session)).run)
    await settled(engine)
    assert (await session(accepted)).title == "A title"


async def test_it_can_be_off(engine: Engine, alice: Owner, settings: Settings, provider: ScriptedProvider) -> None:
    settings.CHAT_AUTO_TITLE = False
    accepted = await ask(engine, alice, "Hello there")
    await wait_ended(engine, alice, accepted.run)
    await settled(engine)
    assert (await session(accepted)).title == "Hello there"
    assert len(provider.requests) == 1


async def test_a_name_given_by_the_user_meanwhile_stays(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    asked, gate = asyncio.Event(), asyncio.Event()

    async def complete(request: Request) -> str:
        asked.set()
        await gate.wait()
        return "The model's"

    provider.complete = complete  # type: ignore[method-assign]
    accepted = await ask(engine, alice)
    await asked.wait()
    await ChatSession.objects.filter(id=accepted.session).aupdate(title="Mine", titled_by="user")
    gate.set()
    await settled(engine)
    assert (await session(accepted)).title == "Mine"


@pytest.mark.parametrize("error", [ProviderError("upstream_auth", "No."), ZeroDivisionError("a bug")])
async def test_a_failure_leaves_the_first_words_and_the_answer(
    engine: Engine, alice: Owner, provider: ScriptedProvider, error: Exception
) -> None:
    async def complete(request: Request) -> str:
        raise error

    provider.complete = complete  # type: ignore[method-assign]
    accepted = await ask(engine, alice, "Hello there")
    assert (await wait_ended(engine, alice, accepted.run)).status == "completed"
    await settled(engine)
    assert (await session(accepted)).title == "Hello there"


@pytest.mark.parametrize(
    "answer, title",
    [
        (' "Quoted." ', "Quoted"),
        ("Two\nlines", "Two lines"),
        ("**Bold**", "Bold"),
        ("a\0b", "ab"),
        ("", "Hello there"),
        (" \n", "Hello there"),
        ("x" * 500, "x" * 80),
    ],
)
async def test_what_the_model_says_is_cleaned(
    engine: Engine, alice: Owner, provider: ScriptedProvider, answer: str, title: str
) -> None:
    provider.title = answer
    accepted = await ask(engine, alice, "Hello there")
    await wait_ended(engine, alice, accepted.run)
    await settled(engine)
    assert (await session(accepted)).title == title


async def test_a_failed_or_stopped_answer_makes_no_title(
    engine: Engine, alice: Owner, provider: ScriptedProvider
) -> None:
    provider.script = ["Half", ProviderError("upstream_cut", "Cut.")]
    accepted = await ask(engine, alice, "Hello there")
    await wait_ended(engine, alice, accepted.run)
    await settled(engine)
    assert (await session(accepted)).title == "Hello there"
    assert len(provider.requests) == 1


async def test_an_engine_closes_while_a_title_is_being_made(
    make_engine: Any, alice: Owner, provider: ScriptedProvider
) -> None:
    asked = asyncio.Event()

    async def complete(request: Request) -> str:
        asked.set()
        await asyncio.Event().wait()
        return ""

    provider.complete = complete  # type: ignore[method-assign]
    engine = await make_engine()
    accepted = await ask(engine, alice, "Hello there")
    await asked.wait()
    async with asyncio.timeout(5):
        await engine.close()
    assert (await session(accepted)).title == "Hello there"


async def test_a_worker_that_drains_waits_for_titles(engine: Engine, alice: Owner, provider: ScriptedProvider) -> None:
    asked, gate = asyncio.Event(), asyncio.Event()

    async def complete(request: Request) -> str:
        asked.set()
        await gate.wait()
        return "A late title"

    provider.complete = complete  # type: ignore[method-assign]
    accepted = await ask(engine, alice)
    await asked.wait()
    await until(lambda: not engine.generations)
    draining = asyncio.create_task(engine.drain(10))
    await asyncio.wait([draining], timeout=0.05)
    assert not draining.done()
    gate.set()
    await draining
    assert (await session(accepted)).title == "A late title"
