"""Readers of /api/chat come back, stop the run or just leave it."""

import asyncio
import secrets
import time
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest

from tests.servers import ServerProcess
from tests.stored import Stored
from tests.transports.aisdk.api import Api, five, four, new_chat, old, run_of, wait
from tests.transports.aisdk.conftest import GRACE_SECONDS
from tests.transports.people import People
from tests.upstream import Scenario
from tests.visitors import Visitor
from tests.wsclient import Client


def slow(chunks: int = 3_000, **fields: Any) -> Scenario:
    return Scenario(seed=secrets.token_hex(6), **{"chunks": chunks, "rate": 50, **fields})


@pytest.fixture
def alice(server: ServerProcess, people: People) -> Api:
    return Api.of(server, people.alice.cookie)


@pytest.fixture
def bob(server: ServerProcess, people: People) -> Api:
    return Api.of(server, people.bob.cookie)


def status(stored: Stored, prompt: str) -> str:
    return str(stored.run(run_of(stored, prompt))["status"])


@pytest.mark.parametrize("shape", [old, four, five])
def test_a_run_that_nobody_reads_is_stopped_after_the_grace_period(alice: Api, stored: Stored, shape: Any) -> None:
    scenario = slow()
    body = old(scenario.prompt) if shape is old else shape(new_chat(), scenario.prompt)
    with alice.post(body) as reply:
        reply.until({old: b"0:", four: b"0:", five: b"text-delta"}[shape])
    left = time.monotonic()
    wait(lambda: status(stored, scenario.prompt) == "stopped")
    assert time.monotonic() - left > GRACE_SECONDS * 0.9
    run = run_of(stored, scenario.prompt)
    text = stored.message_text(run)
    assert text
    assert scenario.text.startswith(text)


def test_a_reader_that_leaves_at_once_leaves_nothing_running(alice: Api, stored: Stored) -> None:
    scenario = slow(first_token_delay=3)
    with alice.post(five(new_chat(), scenario.prompt)):
        pass
    wait(lambda: status(stored, scenario.prompt) == "stopped")


def test_a_second_reader_keeps_it_alive(alice: Api, stored: Stored) -> None:
    scenario, chat = slow(60), new_chat()
    with alice.post(five(chat, scenario.prompt)) as first:
        first.until(b"text-delta")
        with alice.get(f"/api/chat/{chat}/stream") as second:
            second.until(b"text-delta")
            first.__exit__()
            second.whole()
    assert second.answer == scenario.text
    assert second.message == first.message
    assert second.chunks[0]["type"] == "start"
    assert status(stored, scenario.prompt) == "completed"


async def test_a_socket_that_follows_keeps_it_alive(
    alice: Api, server: ServerProcess, people: People, stored: Stored
) -> None:
    scenario = slow()

    def ask_and_leave() -> None:
        with alice.post(five(new_chat(), scenario.prompt)) as reply:
            reply.until(b"text-delta")

    async with Client.connect(server.ws, cookie=people.alice.cookie, origin=server.origin) as client:
        await asyncio.to_thread(ask_and_leave)
        run = str(UUID(run_of(stored, scenario.prompt)))
        assert (await client.ask("run.follow", run=run))["type"] == "ok"
        await asyncio.sleep(GRACE_SECONDS * 3)  # no condition can be waited for where nothing may happen
        assert status(stored, scenario.prompt) == "running"
        assert (await client.ask("run.unfollow", run=run))["type"] == "ok"
        await asyncio.to_thread(wait, lambda: status(stored, scenario.prompt) == "stopped")


@pytest.mark.parametrize(
    "form", ["/api/chat/{}/stream", "/api/chat/{}/stream/", "/api/chat?chatId={}", "/api/chat/data?chatId={}"]
)
def test_resume_replays_from_the_first_frame(alice: Api, bob: Api, stored: Stored, form: str) -> None:
    scenario, chat = slow(40, reasoning=5), f"{new_chat()} ä/%&?#"
    path = form.format(quote(chat, safe=""))
    with alice.post(five(chat, scenario.prompt)) as first:
        first.until(b"text-delta")
    with bob.get(path) as nothing:  # it is not his
        assert (nothing.status, nothing.whole().body) == (200 if "chatId" in path else 204, b"")
    with alice.get(path) as reply:
        reply.whole()
    assert (reply.answer, reply.message) == (scenario.text, first.message)
    if "chatId" in path:
        assert "".join(value for code, value in reply.codes if code == "g") == scenario.reasoning_text
        assert [code for code, _ in reply.codes[-2:]] == ["e", "d"]
    else:
        assert [chunk["type"] for chunk in reply.chunks[:3]] == ["start", "start-step", "reasoning-start"]
        assert reply.text.endswith("data: [DONE]\n\n")
    with alice.get(path) as nothing:
        assert (nothing.status, nothing.whole().body) == (200 if "chatId" in path else 204, b"")


def test_stop_ends_the_run_and_the_stream(alice: Api, bob: Api, stored: Stored) -> None:
    scenario, chat = slow(), new_chat()
    with alice.post(five(chat, scenario.prompt)) as reply:
        reply.until(b"text-delta")
        for somebody, name in ((bob, chat), (alice, "unknown"), (alice, "a%00b")):
            with somebody.post({}, f"/api/chat/{name}/stop") as refused:
                assert refused.whole().status == 404
        assert status(stored, scenario.prompt) == "running"
        for path in (f"/api/chat/{chat}/stop", f"/api/chat/{chat}/stop/", f"/api/chat/ui/{chat}/stop"):
            with alice.post({"activeStreamId": None}, path) as stopped:
                assert (stopped.status, stopped.whole().body) == (204, b"")
        reply.whole()
    assert [chunk["type"] for chunk in reply.chunks[-3:]] == ["text-end", "finish-step", "abort"]
    run = run_of(stored, scenario.prompt)
    assert stored.run(run)["status"] == "stopped"
    assert stored.message_text(run) == reply.answer


def test_the_same_again_after_leaving_is_another_answer(alice: Api, stored: Stored) -> None:
    """As ai 4 sends it: stop() and then reload(), within the grace period."""
    scenario, chat = slow(), new_chat()
    body = four(chat, scenario.prompt)
    with alice.post(body) as first:
        first.until(b"0:")
    left = run_of(stored, scenario.prompt)
    wait(lambda: again(alice, body) != first.message)
    wait(lambda: stored.run(left)["status"] == "stopped")


def again(alice: Api, body: Any) -> str:
    with alice.post(body) as reply:
        return reply.until(b"0:").message


def test_a_prompt_behind_an_answer_stops_it(alice: Api, stored: Stored) -> None:
    before, scenario, chat = slow(), slow(5), new_chat()
    with alice.post(five(chat, before.prompt)) as reply:
        reply.until(b"text-delta")
        shown = reply.answer
        begun = time.monotonic()
        with alice.post(five(chat, before.prompt, shown, scenario.prompt)) as behind:
            assert behind.whole().answer == scenario.text
        assert time.monotonic() - begun < 2
        reply.whole()
    assert status(stored, before.prompt) == "stopped"


def test_so_many_readers_and_no_more(strict: ServerProcess, people: People) -> None:
    cookie = Visitor(strict.port).sign_up().cookie
    somebody, scenario, chat = Api.of(strict, cookie), slow(), new_chat()
    with somebody.post(five(chat, scenario.prompt)) as first:
        first.until(b"text-delta")
        with somebody.get(f"/api/chat/{chat}/stream") as second, somebody.get(f"/api/chat/{chat}/stream") as third:
            assert (second.status, third.status) == (200, 200)
            before = Stored(strict.database).counts()
            with somebody.get(f"/api/chat/{chat}/stream") as refused, somebody.post(old("Hi")) as also:
                assert (refused.status, also.status) == (429, 429)
                assert "Too many connections" in also.whole().text
            assert Stored(strict.database).counts()["chat_run"] == before["chat_run"]
        with somebody.post({}, f"/api/chat/{chat}/stop") as stopped:
            assert stopped.status == 204
