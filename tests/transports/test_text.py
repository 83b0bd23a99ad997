"""POST /api/text: the answer and nothing else, and a last line where it is not whole."""

import asyncio

import pytest

from tests.servers import ServerProcess
from tests.sseclient import Answer
from tests.stored import Stored, key
from tests.tokens import give_token
from tests.transports.people import People
from tests.upstream import Scenario


@pytest.fixture
def alice(people: People, stored: Stored) -> dict[str, str]:
    return give_token(stored, "alice").headers


async def test_it_works(server: ServerProcess, alice: dict[str, str], stored: Stored) -> None:
    story = Scenario(seed="plain", chunks=30, rate=100, reasoning=3)
    async with Answer.ask(server.port, "POST", "/api/text", {"prompt": story.prompt}, **alice) as answer:
        assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
        assert answer.headers["x-content-type-options"] == "nosniff"
        chunks = [chunk async for chunk in answer.chunks()]
    assert len(chunks) > 10
    text = b"".join(chunks).decode()
    assert text == story.text == stored.message_text(answer.headers["x-run"])
    assert stored.rows("SELECT id FROM chat_chatsession WHERE id = ?", key(answer.headers["x-session"]))


async def test_a_failure_is_told_in_a_last_line(server: ServerProcess, alice: dict[str, str]) -> None:
    story = Scenario(seed="fails", chunks=9, error_after=5)
    async with Answer.ask(server.port, "POST", "/api/text", {"prompt": story.prompt}, **alice) as answer:
        text = await answer.text()
    assert text.startswith(story.text + "\n[")
    assert text.endswith("]\n")
    assert "fell over" not in text


async def test_a_stop_is_told_in_a_last_line(server: ServerProcess, alice: dict[str, str]) -> None:
    story = Scenario(seed="stopped", chunks=5000, rate=50)
    async with Answer.ask(server.port, "POST", "/api/text", {"prompt": story.prompt}, **alice) as answer:
        first = await anext(answer.chunks())
        async with Answer.ask(server.port, "POST", f"/api/runs/{answer.headers['x-run']}/stop", **alice) as stopped:
            assert stopped.status == 200
        async with asyncio.timeout(2):
            text = first.decode() + await answer.text()
    told, _, last = text.rpartition("\n[")
    assert story.text.startswith(told)
    assert last == "The answer was stopped.]\n"
