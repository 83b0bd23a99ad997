"""The deployment as a visitor meets it: nginx in front of two web processes and two workers, all of them as
docker-compose.yml has them."""

import asyncio
import http.client
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest

from chat.management.serving import PING_SECONDS
from tests.rawsocket import PING, PONG, RawSocket
from tests.rig.survivor import Survivor
from tests.services.composed import Composed, Composition, Places, composition
from tests.services.conftest import fresh_database
from tests.services.nginx import running_nginx
from tests.sseclient import Answer, StreamView
from tests.upstream import Scenario, expected_text
from tests.visitors import Visitor
from tests.waiting import until
from tests.wsclient import Client, RunView

pytestmark = pytest.mark.services

CHUNKS = 120


@pytest.fixture(scope="module")
def composed(redis_url: str, upstream: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composition]:
    folder = tmp_path_factory.mktemp("composed")
    with (
        fresh_database() as database_url,
        composition(Places(database_url, redis_url, upstream, folder), CHAT_LEASE_SECONDS="4") as composed,
    ):
        yield composed
        for process in (*composed.webs, *composed.workers):
            for trouble in (" ERROR chat.", "never retrieved", "was destroyed"):
                assert trouble not in process.log_text(), process.log_text()[-6000:]


@pytest.fixture(scope="module")
def alice(composed: Composition) -> Visitor:
    return Visitor(composed.nginx.port).sign_up()


@asynccontextmanager
async def connected(composed: Composition, alice: Visitor) -> AsyncIterator[Client]:
    async with Client.connect(composed.nginx.ws, cookie=alice.cookie, origin=composed.nginx.origin) as client:
        yield client


def status(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def test_the_page_and_all_its_files_come_through(composed: Composition, alice: Visitor) -> None:
    code, page = alice.request("GET", "/")
    assert code == 200
    files = set(re.findall(r'"(/static/[^"]+\.(?:js|css|svg))"', page))
    assert len(files) > 10
    assert {path: status(composed.nginx.port, path) for path in files} == dict.fromkeys(files, 200)
    assert alice.request("GET", "/admin/login/")[0] == 200


def test_the_tables_and_the_admin_are_made_once_and_all_are_well(composed: Composition) -> None:
    assert "First admin" in composed.prepared
    assert "migrations applied" in composed.prepared
    assert all(process.is_up() for process in (*composed.webs, *composed.workers))
    for web in composed.webs:
        assert "First admin" not in web.log_text()
        assert "migrations applied" not in web.log_text()
        assert "Served by uvicorn" in web.log_text()


def test_a_balancer_in_front_can_ask_for_its_health(composed: Composition, alice: Visitor) -> None:
    code, answer = alice.request("GET", "/readyz")
    assert (code, answer) == (200, '{"status": "ready", "database": "ok", "redis": "ok"}')


async def test_an_answer_comes_chunk_by_chunk(composed: Composition, alice: Visitor) -> None:
    """Two seconds of 30 chunks each: in gusts of half a second they would fill four of the twenty slots."""
    async with connected(composed, alice) as client:
        accepted = await client.prompt(Scenario(seed="smooth", chunks=60, rate=30).prompt)
        view = client.view(accepted["run"])
        slots = set()
        while view.ended is None:
            if (await client.read())["type"] == "text.delta":
                slots.add(int(time.monotonic() * 10))
        assert view.text == expected_text("smooth", 60)
    assert len(slots) >= 12


async def test_a_rolling_restart_of_the_web_processes_is_seen_by_nobody(composed: Composition, alice: Visitor) -> None:
    """Neither by those who read an answer, who go on where they were on the other process, nor by new visitors."""
    survivors = [
        Survivor(
            Scenario(seed=f"rolling{number}", chunks=CHUNKS, rate=10).prompt,
            cookie=alice.cookie,
            origin=composed.nginx.origin,
        )
        for number in range(6)
    ]
    reading = [asyncio.create_task(survivor.run([composed.nginx.ws])) for survivor in survivors]
    await asyncio.gather(*(survivor.begun.wait() for survivor in survivors))
    visitors = asyncio.create_task(visiting(composed.nginx.port, until_done=reading))
    stories = [Scenario(seed=f"rolled stream {number}", chunks=CHUNKS, rate=10) for number in range(3)]
    streams = [asyncio.create_task(read_stream(composed, alice, story)) for story in stories]
    for web in composed.webs:
        assert await asyncio.to_thread(web.stop) == 0
        await asyncio.to_thread(web.start)
        await taken_up(composed, web)
    for number, view in enumerate(await asyncio.gather(*reading)):
        assert view.text == expected_text(f"rolling{number}", CHUNKS)
        assert view.restarts == 0
    streamed = await asyncio.gather(*streams)
    for story, (stream, _) in zip(stories, streamed, strict=True):
        assert (stream.text, stream.restarts) == (story.text, 0)
    assert sum(connections for _, connections in streamed) > len(stories)
    seen = await visitors
    assert len(seen) > 50
    assert set(seen) == {200}
    assert sum(survivor.connections for survivor in survivors) > len(survivors)


async def read_stream(composed: Composition, alice: Visitor, story: Scenario) -> tuple[StreamView, int]:
    """To its end, as EventSource reads: on how many connections. What it asks for is in no log of the proxy's."""
    port, who, connections = composed.nginx.port, {"Cookie": alice.cookie, "Sec_Fetch_Site": "same-origin"}, 1
    path = f"/api/stream?{urlencode({'prompt': story.prompt})}"
    async with Answer.ask(port, "GET", path, **who) as answer:
        view = StreamView((await answer.accepted())["run"])
        await answer.follow(view)
    while not view.over:
        connections += 1
        async with Answer.ask(port, "GET", path, **who, Last_Event_ID=view.last_id) as answer:
            await answer.follow(view)
    assert "rolled" not in composed.nginx.log_text()
    return view, connections


async def visiting(port: int, until_done: list["asyncio.Task[RunView]"]) -> list[int]:
    seen = []
    while not all(task.done() for task in until_done):
        seen.append(await asyncio.to_thread(status, port, "/login/"))
        await asyncio.sleep(0.03)
    return seen


async def taken_up(composed: Composition, web: Composed) -> None:
    """docs/deploy.md waits as well before it goes on: until nginx has tried the new process."""
    before = len(composed.nginx.log_text())
    answered = re.compile(rf" 200 \d+ [\d.]+ 127\.0\.0\.1:{web.port}$", re.MULTILINE)
    await until(lambda: answered.search(composed.nginx.log_text()[before:]) is not None, 10)


@pytest.mark.slow
async def test_a_socket_lives_by_pings_alone(composed: Composition, tmp_path: Path) -> None:
    """With the server's own interval; the proxy's is shortened to a little more, and in the other one to less."""
    webs = [web.port for web in composed.webs]
    for name in ("lives", "dies"):
        (tmp_path / name).mkdir()
    lives, dies = f"{PING_SECONDS + 2}s", "2s"
    with (
        running_nginx(tmp_path / "lives", webs, proxy_read_timeout=lives) as patient,
        running_nginx(tmp_path / "dies", webs, proxy_read_timeout=dies) as hasty,
    ):
        await asyncio.gather(asyncio.to_thread(idle, patient.port), asyncio.to_thread(cut, hasty.port))


def idle(port: int) -> None:
    with RawSocket(port, timeout=PING_SECONDS + 10) as socket:
        assert socket.message()["type"] == "hello"
        begun = time.monotonic()
        received = socket.receive()
        assert received is not None
        assert received.opcode == PING
        socket.send(received.payload, PONG)
        time.sleep(begun + PING_SECONDS + 4 - time.monotonic())
        socket.send(b'{"type": "ping", "id": "still"}')
        assert socket.message() == {"type": "pong", "re": "still"}


def cut(port: int) -> None:
    with RawSocket(port, timeout=PING_SECONDS) as socket:
        assert socket.message()["type"] == "hello"
        assert socket.ending() is None
