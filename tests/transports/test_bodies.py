"""A body that is too large is refused before it is read, and costs no memory, on both servers."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.conf import settings

from chat.transports import bodies
from chat.transports.bodies import BodyLimit, most_bytes
from tests.servers import ServerProcess

MIB = 1024**2
CHUNK = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"


@contextmanager
def request(server: ServerProcess, path: str, *headers: str) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        lines = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{server.port}", *headers]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        yield connection


def answer(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    with connection.makefile("rb") as reader:
        status = int(reader.readline().split()[1])
        headers = dict(line.decode().lower().strip().split(": ", 1) for line in iter(reader.readline, b"\r\n"))
        return status, json.loads(reader.read(int(headers["content-length"])))["error"]


def test_an_announced_body_is_refused_before_it_is_sent(server: ServerProcess) -> None:
    with request(server, "/api/sessions", f"Content-Length: {MIB + 1}") as connection:
        status, error = answer(connection)
    assert (status, error["code"], error["retryable"]) == (413, "too_large", False)
    assert "1,048,576 bytes" in error["message"]


def test_a_body_without_a_length_is_counted(server: ServerProcess) -> None:
    with request(server, "/api/sessions", "Transfer-Encoding: chunked") as connection:
        connection.sendall(CHUNK * 17)
        assert answer(connection)[0] == 413


def test_one_that_never_ends_is_cut_off_and_held_nowhere(server: ServerProcess) -> None:
    before = server.rss_bytes()
    sent = 0
    with request(server, "/login/", "Transfer-Encoding: chunked") as connection:
        try:
            while sent < 10_000 * MIB:
                connection.sendall(CHUNK)
                sent += len(CHUNK)
        except OSError:
            pass  # it was: nobody reads this any more
        else:
            pytest.fail("the server reads for ever")
    assert sent > MIB
    assert server.rss_bytes() - before < 24 * MIB


@pytest.mark.parametrize("piece", [b"a" * 65_536, b"b: c\r\n" * 10_000], ids=["one header", "many headers"])
def test_a_head_that_never_ends_is_cut_off(server: ServerProcess, piece: bytes) -> None:
    sent = 0
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(b"GET /api/models HTTP/1.1\r\na: ")
        with contextlib.suppress(ConnectionError):
            while sent < 100 * MIB:
                connection.sendall(piece)
                sent += len(piece)
    assert sent < 20 * MIB  # what the buffers of the connection take


def test_what_fits_gets_its_answer(server: ServerProcess) -> None:
    body = b"[" + b" " * (MIB - 2) + b"]"
    for headers in ((f"Content-Length: {len(body)}",), ("Content-Length: 0",)):
        with request(server, "/api/nothing-of-the-kind", *headers) as connection:
            connection.sendall(body if headers[0] != "Content-Length: 0" else b"")
            assert answer(connection)[0] == 404


def test_a_path_may_have_a_limit_of_its_own(server: ServerProcess) -> None:
    assert [most_bytes(path) for path in ("/", "/login/", "/api/sessions", "/api/chatter", "*", "")] == [MIB] * 6
    assert [most_bytes(path) for path in ("/api/chat", "/api/chat/", "/api/chat/text")] == [8 * MIB] * 3
    assert most_bytes("/api/import") == settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    for path, status in (("/api/import/nothing", 404), ("/api/import", 413)):
        size = 2 * MIB if status == 404 else 64 * MIB + 1
        with request(server, path, f"Content-Length: {size}") as connection:
            connection.sendall(b"x" * size if status == 404 else b"")
            assert answer(connection)[0] == status


async def test_one_that_comes_by_drops_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """uvicorn sets no time for it; daphne ends a connection that was silent for a minute."""
    monkeypatch.setattr(bodies, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(bodies, "SLOWEST_BYTES_PER_SECOND", 1e12)
    monkeypatch.setattr(bodies, "LINGER_SECONDS", 0.05)
    sent: list[dict[str, Any]] = []
    heard: list[str] = []

    async def drop() -> dict[str, Any]:
        await asyncio.sleep(0.001)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "http.request":
            pass
        heard.append(message["type"])

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await BodyLimit(app)({"type": "http", "path": "/", "headers": []}, drop, send)
    assert heard == ["http.disconnect"]
    assert sent[0]["status"] == 408
