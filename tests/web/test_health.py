"""Live: the process answers. Ready: the database answers as well, soon, and the process is not about to end."""

import asyncio
import http.client
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from django.db import OperationalError

from chat.transports import desk
from chat.web import health
from chat.web.health import Health
from tests.servers import KINDS, running_server
from tests.waiting import until


class Response:
    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""

    async def send(self, message: dict[str, Any]) -> None:
        self.status = message.get("status", self.status)
        self.headers |= {name.decode(): value.decode() for name, value in message.get("headers", ())}
        self.body += message.get("body", b"")

    @property
    def parts(self) -> dict[str, str]:
        parts: dict[str, str] = json.loads(self.body)
        return parts


async def passed_on(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 299, "headers": []})


async def get(app: Health, path: str, method: str = "GET") -> Response:
    response = Response()
    await app({"type": "http", "method": method, "path": path, "headers": []}, None, response.send)
    return response


@pytest_asyncio.fixture
async def opened(transactional_db: None) -> AsyncIterator[desk.Desk]:
    yield await desk.start_desk()
    await desk.close_desk()


@pytest.fixture
def app(opened: desk.Desk) -> Health:
    return Health(passed_on)


async def test_it_works(app: Health) -> None:
    live, ready = await get(app, "/healthz"), await get(app, "/readyz")
    assert (live.status, live.parts) == (200, {"status": "live"})
    assert (ready.status, ready.parts) == (200, {"status": "ready", "database": "ok"})
    assert ready.headers["content-type"] == "application/json"
    assert ready.headers["cache-control"] == "no-store"


async def test_all_else_is_passed_on(app: Health) -> None:
    for path in ("/", "/health", "/healthz/", "/health/live", "/readyz/now"):
        assert (await get(app, path)).status == 299


async def test_head_has_no_body_and_nothing_is_posted(app: Health) -> None:
    head, post = await get(app, "/readyz", "HEAD"), await get(app, "/readyz", "POST")
    assert (head.status, head.body, head.headers["content-length"] != "0") == (200, b"", True)
    assert (post.status, post.headers["allow"]) == (405, "GET, HEAD")


async def test_without_a_database_it_is_live_but_not_ready_and_says_why_once_in_the_log(
    app: Health, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away() -> None:
        raise OperationalError("connection to server at 10.9.8.7 failed")

    monkeypatch.setattr(health, "FRESH_SECONDS", 0)
    monkeypatch.setattr(health, "ask", away)
    for _ in range(3):
        ready = await get(app, "/readyz")
        assert (ready.status, ready.parts) == (503, {"status": "not ready", "database": "no answer"})
        assert ready.headers["retry-after"] == "2"
        assert b"10.9.8.7" not in ready.body
    assert caplog.text.count("10.9.8.7") == 1
    assert (await get(app, "/healthz")).status == 200
    monkeypatch.undo()
    monkeypatch.setattr(health, "FRESH_SECONDS", 0)
    assert (await get(app, "/readyz")).status == 200


async def test_a_database_that_hangs_is_waited_for_a_moment(app: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = threading.Event()
    monkeypatch.setattr(health, "ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(health, "ask", hanging.wait)
    try:
        async with asyncio.timeout(5):
            assert (await get(app, "/readyz")).status == 503
    finally:
        hanging.set()


async def test_many_that_ask_at_once_cost_one_query(app: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[None] = []
    monkeypatch.setattr(health, "ask", lambda: asked.append(None))
    monkeypatch.setattr(health, "FRESH_SECONDS", 60)
    answers = await asyncio.gather(*(get(app, "/readyz") for _ in range(50)))
    assert {answer.status for answer in answers} == {200}
    assert len(asked) == 1


async def test_one_that_gives_up_takes_the_answer_from_nobody(app: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = threading.Event()
    monkeypatch.setattr(health, "ask", hanging.wait)
    first, second = (asyncio.create_task(get(app, "/readyz")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    hanging.set()
    assert (await second).status == 200


@pytest.mark.parametrize("reached, told", [(True, "ok"), (False, "no answer")])
async def test_redis_is_told_and_decides_nothing(
    app: Health, opened: desk.Desk, monkeypatch: pytest.MonkeyPatch, reached: bool, told: str
) -> None:
    monkeypatch.setattr(type(opened.engine.bus), "reached", reached)
    ready = await get(app, "/readyz")
    assert (ready.status, ready.parts["redis"]) == (200, told)


async def test_before_it_is_open_and_once_it_closes_it_is_not_ready(transactional_db: None) -> None:
    app = Health(passed_on)
    assert (await get(app, "/readyz")).status == 503
    await desk.start_desk()
    assert (await get(app, "/readyz")).status == 200
    await desk.close_desk()
    closed = await get(app, "/readyz")
    assert (closed.status, closed.headers["retry-after"]) == (503, "2")
    assert (await get(app, "/healthz")).status == 200


@pytest.mark.parametrize("kind", KINDS)
async def test_a_probe_may_name_any_host(kind: str, tmp_path: Path) -> None:
    with running_server(kind, tmp_path, "http://127.0.0.1:9/v1") as server:

        def status(path: str) -> int:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
            try:
                connection.request("GET", path, headers={"Host": "10.1.2.3:8000"})
                return connection.getresponse().status
            finally:
                connection.close()

        assert status("/healthz") == 200
        await until(lambda: status("/readyz") == 200, 10)  # daphne listens before the engine is open
        assert status("/login/") == 400
