"""Clients as they are: hundreds that leave, some that read nothing, and some that change their transport."""

import asyncio
import random
import socket
from pathlib import Path

import pytest

from tests.servers import ServerProcess
from tests.sseclient import Answer, StreamView, request
from tests.stored import Stored
from tests.tokens import give_token
from tests.transports.aisdk.api import Api
from tests.transports.conftest import Start
from tests.transports.people import People
from tests.upstream import Scenario
from tests.visitors import Visitor
from tests.waiting import until
from tests.wsclient import Client, Who

AT_ONCE = 100
BATCHES = 5
# Of one user: more than those that have not been noticed to be gone when the next batch comes, fewer than all.
LET_IN = 150


@pytest.fixture
def narrow(kind: str, start: Start) -> ServerProcess:
    return start(kind, CHAT_SOCKETS_PER_USER=str(LET_IN))


def open_files(server: ServerProcess) -> int:
    """Connections, of clients and of the database, among them."""
    return len(list(Path(f"/proc/{server.pid}/fd").iterdir()))


async def leave(server: ServerProcess, number: int, run: str, headers: dict[str, str]) -> None:
    """Ask, and be gone: before the answer, after its first bytes, or amid it."""
    prompt = {"prompt": Scenario(seed=f"left {number}", chunks=2).prompt}
    way = ("GET", f"/api/runs/{run}/events") if number % 5 else ("POST", "/api/stream")
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(request(server.port, *way, None if number % 5 else prompt, **headers))
        await writer.drain()
        if number % 3:
            assert b" 200 " in await reader.readline()
        if number % 3 == 2:
            await reader.readuntil(b"data: ")
    finally:
        writer.transport.abort()


async def room(server: ServerProcess, run: str, headers: dict[str, str]) -> bool:
    """Whether all the streams that one user may have are free."""
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(first_line(server, run, headers)) for _ in range(LET_IN)]
    lines = [task.result() for task in asked]
    for _, writer in lines:
        writer.transport.abort()
    return all(b" 200 " in line for line, _ in lines)


async def first_line(server: ServerProcess, run: str, headers: dict[str, str]) -> tuple[bytes, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request(server.port, "GET", f"/api/runs/{run}/events", **headers))
    return await reader.readline(), writer


async def has_room(server: ServerProcess, run: str, headers: dict[str, str]) -> None:
    async with asyncio.timeout(40):
        while not await room(server, run, headers):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_500_streams_that_are_left_leave_nothing(narrow: ServerProcess) -> None:
    user, stored = Visitor(narrow.port).sign_up(), Stored(narrow.database)
    headers = give_token(stored, user.name).headers
    waits = Scenario(seed="waits", first_token_delay=1000)
    async with Answer.ask(narrow.port, "POST", "/api/stream", {"prompt": waits.prompt}, **headers) as answer:
        run = (await answer.accepted())["run"]
        await answer.follow(StreamView(run), until=1)
    await has_room(narrow, run, headers)
    await until(lambda: stored.unended() == 1, 10)
    before = open_files(narrow)
    for batch in range(BATCHES):
        await asyncio.gather(*(leave(narrow, batch * AT_ONCE + n, run, headers) for n in range(AT_ONCE)))
        await until(lambda: open_files(narrow) <= before + 2, 10)
    # What was asked for goes on without its readers; then there is as much open as before.
    await has_room(narrow, run, headers)
    await until(lambda: stored.unended() == 1, 10)
    await until(lambda: open_files(narrow) <= before + 2, 10)
    async with Answer.ask(narrow.port, "POST", f"/api/runs/{run}/stop", **headers) as stopped:
        assert stopped.status == 200


async def test_readers_that_read_nothing_cost_bounded_memory(server: ServerProcess, stored: Stored) -> None:
    user = Visitor(server.port).sign_up()
    headers = give_token(stored, user.name).headers
    big = Scenario(seed="big", chunks=5, huge_chunk=3_000_000)
    async with Answer.ask(server.port, "POST", "/api/stream", {"prompt": big.prompt}, **headers) as answer:
        run = (await answer.accepted())["run"]
        assert (await answer.follow(StreamView(run))).text == big.text
    before = server.rss_bytes()
    deaf = []
    try:
        for _ in range(40):
            one = socket.create_connection(("127.0.0.1", server.port))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.sendall(request(server.port, "GET", f"/api/runs/{run}/events", **headers))
            deaf.append(one)
        async with Answer.ask(server.port, "GET", f"/api/runs/{run}/events", **headers) as answer:
            assert (await answer.follow(StreamView(run))).text == big.text
        seen = [0, server.rss_bytes()]
        while seen[-1] > seen[-2] + 500_000:  # what is read for them comes a page at a time
            await asyncio.sleep(0.5)
            seen.append(server.rss_bytes())
        # 40 × 3 MB, were it held for them.
        assert seen[-1] - before < 50_000_000
    finally:
        for one in deaf:
            one.close()


@pytest.mark.parametrize("seed", range(2))
async def test_who_hops_between_transports_has_the_same_text(server: ServerProcess, people: People, seed: int) -> None:
    """RunView compares length and sha256 with what run.completed says."""
    story = Scenario(seed=f"hops {seed}", chunks=150, rate=150, reasoning=5)
    who = Who(cookie=people.alice.cookie, origin=server.origin)
    async with Client.connect(server.ws, **who) as client:
        accepted = await client.prompt(story.prompt, id=f"hops {seed} {server.kind}")
        run, session = accepted["run"], accepted["session"]
        views = [StreamView(run) for _ in range(6)]
        chances = [random.Random(f"{seed} {number}") for number in range(len(views))]
        asked = {"prompt": story.prompt, "id": f"hops {seed} {server.kind}"}
        async with asyncio.TaskGroup() as group:
            texts = [group.create_task(plain_text(server, people, asked)) for _ in range(2)]
            resumes = (f"/api/chat/{session}/stream", f"/api/chat?chatId={session}")
            texts += [group.create_task(asyncio.to_thread(use_chat, server, who, path)) for path in resumes]
            ended = group.create_task(client.ended(run))
            for view, chance in zip(views, chances, strict=True):
                group.create_task(hop(server, who, view, chance))
        straight = ended.result()
    async with Answer.ask(server.port, "GET", f"/api/runs/{run}/events", Cookie=who["cookie"]) as answer:
        views.append(await answer.follow(StreamView(run)))
    for view in views:
        assert view.ended == straight.ended
        assert (view.text, view.reasoning) == (story.text, story.reasoning_text)
    assert [*(text.result() for text in texts), await plain_text(server, people, asked)] == [story.text] * 5


def use_chat(server: ServerProcess, who: Who, path: str) -> str:
    """As the AI SDK resumes: the answer is played from its first frame."""
    with Api.of(server, who["cookie"]).get(path) as reply:
        assert reply.status == 200
        return reply.whole().answer


async def plain_text(server: ServerProcess, people: People, asked: dict[str, str]) -> str:
    signed = {"Cookie": people.alice.cookie, "X_CSRFToken": people.alice.cookies["csrftoken"]}
    async with Answer.ask(server.port, "POST", "/api/text", asked, **signed) as answer:
        return await answer.text()


async def hop(server: ServerProcess, who: Who, view: StreamView, chance: random.Random) -> None:
    while not view.over:
        goal = view.seq + chance.randint(1, 40)
        if chance.random() < 0.5:
            async with Client.connect(server.ws, **who) as client:
                await client.follow(view)
                await read_on(client, view, goal)
        else:
            path, last = f"/api/runs/{view.run}/events?after={view.seq}", {}
            if chance.random() < 0.5:
                path, last = "/api/stream?prompt=again", {"Last_Event_ID": f"{view.run}:{view.seq}"}
            page = {"Cookie": who["cookie"], "Sec_Fetch_Site": "same-origin"}
            async with Answer.ask(server.port, "GET", path, **page, **last) as answer:
                await answer.follow(view, until=goal)


async def read_on(client: Client, view: StreamView, goal: int) -> None:
    while not view.over and view.seq < goal:
        await client.read()
