"""The proxy's configuration before a backend that remembers what it was asked and answers as a test wants."""

import http.client
import json
import re
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from tests.docs.pages import read
from tests.rawsocket import RawSocket
from tests.servers import free_port
from tests.services.nginx import Nginx, exchange, required, running_nginx

pytestmark = pytest.mark.services

FORGED = {
    "Daphne-Root-Path": "/elsewhere",
    "Forwarded": "for=1.2.3.4",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "1",
    "X-Real-IP": "1.2.3.4",
}


class Backend(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.port = int(self.server_address[1])
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.cuts = False
        self.go_on = threading.Event()

    def handle_error(self, *_: Any) -> None:
        """A client that leaves is part of the tests."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Backend

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((f"{self.command} {self.path}", {k.lower(): v for k, v in self.headers.items()}))
        if self.server.cuts:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/javascript")
        self.in_chunks = "close" not in self.path
        self.send_header(*(("Transfer-Encoding", "chunked") if self.in_chunks else ("Connection", "close")))
        self.end_headers()
        self.write(b"first " * 100)
        if self.path.startswith("/stream"):
            self.server.go_on.wait(20)
        self.write(b"second")
        self.write(b"")

    do_POST = do_GET  # noqa: N815 - the base class' name

    def write(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n" if self.in_chunks else data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def backends() -> Iterator[list[Backend]]:
    backends = [Backend(), Backend()]
    threads = [threading.Thread(target=backend.serve_forever, args=(0.02,)) for backend in backends]
    for thread in threads:
        thread.start()
    yield backends
    for backend, thread in zip(backends, threads, strict=True):
        backend.go_on.set()
        backend.shutdown()
        thread.join()
        backend.server_close()


@pytest.fixture
def nginx(backends: list[Backend], tmp_path: Path) -> Iterator[Nginx]:
    with running_nginx(tmp_path, [backend.port for backend in backends], client_header_timeout="1s") as nginx:
        yield nginx
        assert "[alert]" not in nginx.log_text()


def ask(nginx: Nginx, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=20)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def asked(backends: list[Backend]) -> list[tuple[str, dict[str, str]]]:
    return [each for backend in backends for each in backend.asked]


def test_nginx_takes_the_configuration(tmp_path: Path) -> None:
    required()
    ended = Nginx(tmp_path, [1, 2]).tested()
    assert ended.returncode == 0, ended.stderr


def test_it_works(nginx: Nginx, backends: list[Backend]) -> None:
    status, headers, body = ask(nginx, "GET", "/path?query=1")
    assert (status, body) == (200, b"first " * 100 + b"second")
    assert headers["Server"] == "nginx"
    assert [what for what, _ in asked(backends)] == ["GET /path?query=1"]


def test_what_a_client_says_of_itself_ends_here(nginx: Nginx, backends: list[Backend]) -> None:
    ask(nginx, "GET", "/", None, Host="chat.example.org:8000", **FORGED)
    [(_, headers)] = asked(backends)
    assert headers["host"] == "chat.example.org:8000"
    assert headers["x-forwarded-for"] == headers["x-real-ip"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == "http"
    assert headers["connection"] == "close"
    assert not {"daphne-root-path", "forwarded", "x-forwarded-host", "x-forwarded-port", "upgrade"} & set(headers)


def test_a_proxy_in_front_on_this_machine_is_believed(nginx: Nginx, backends: list[Backend]) -> None:
    ask(nginx, "GET", "/", X_Forwarded_For="203.0.113.7", X_Forwarded_Proto="https")
    [(_, headers)] = asked(backends)
    assert headers["x-forwarded-for"] == headers["x-real-ip"] == "203.0.113.7"
    assert headers["x-forwarded-proto"] == "https"


@pytest.mark.parametrize("path", ["/stream", "/stream/close"], ids=["in chunks", "until the connection ends"])
def test_a_stream_flows(nginx: Nginx, backends: list[Backend], path: str) -> None:
    """The second chunk is not even written before the first has come through."""
    connection = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=10)
    connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
    response = connection.getresponse()
    assert response.read(600) == b"first " * 100
    for backend in backends:
        backend.go_on.set()
    assert response.read() == b"second"
    assert "Content-Encoding" not in response.headers
    connection.close()


def test_files_are_compressed(nginx: Nginx) -> None:
    _, headers, body = ask(nginx, "GET", "/static/a.js", Accept_Encoding="gzip")
    assert headers["Content-Encoding"] == "gzip"
    assert len(body) < 100


def test_no_other_protocol_is_upgraded_to(nginx: Nginx, backends: list[Backend]) -> None:
    ask(nginx, "GET", "/", Upgrade="h2c", Connection="Upgrade, HTTP2-Settings", HTTP2_Settings="AAAA")
    with RawSocket(nginx.port):
        pass
    (_, other), (_, handshake) = sorted(asked(backends))
    assert ("upgrade" in other, other["connection"]) == (False, "close")
    assert (handshake["upgrade"], handshake["connection"]) == ("websocket", "upgrade")


@pytest.mark.parametrize("method, times", [("GET", 2), ("POST", 1)])
def test_what_failed_half_way_is_asked_again_only_if_it_may_be(
    nginx: Nginx, backends: list[Backend], method: str, times: int
) -> None:
    for backend in backends:
        backend.cuts = True
    status, headers, body = ask(nginx, method, "/", b"x" if method == "POST" else None)
    assert (status, headers["Retry-After"]) == (503, "2")
    assert b"nginx" not in body
    assert [what for what, _ in asked(backends)] == [f"{method} /"] * times


def test_a_process_that_is_away_is_skipped_also_by_a_post(backends: list[Backend], tmp_path: Path) -> None:
    with running_nginx(tmp_path, [free_port(), backends[0].port]) as nginx:
        for _ in range(10):
            assert ask(nginx, "POST", "/", b"body")[0] == 200
    assert len(backends[0].asked) == 10


def test_with_nobody_there_it_says_when_to_come_back(tmp_path: Path) -> None:
    with running_nginx(tmp_path, [free_port(), free_port()]) as nginx:
        status, headers, body = ask(nginx, "GET", "/")
        assert (status, headers["Retry-After"], headers["Cache-Control"]) == (503, "2", "no-store")
        assert headers["Server"] == "nginx"
        assert body.startswith(b"No server process answers")
        assert ask(nginx, "GET", "/healthz/proxy")[::2] == (200, b"well\n")


def test_a_body_that_is_too_large_never_arrives(nginx: Nginx, backends: list[Backend]) -> None:
    table: dict[str, int] = settings.BODY_BYTES
    for path, most in table.items():
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {most + 1}\r\n\r\n"
        assert exchange(nginx.port, head.encode()).startswith(b"HTTP/1.1 413 ")
    for path in ("/", "/api/chat"):
        assert ask(nginx, "POST", path, b"x" * table[path])[0] == 200
    assert [what for what, _ in asked(backends)] == ["POST /", "POST /api/chat"]


def test_a_refused_body_is_told_as_the_application_tells_it(nginx: Nginx) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=20)
    connection.putrequest("POST", "/api/sessions")
    connection.putheader("Content-Length", "9999999")
    connection.endheaders()
    response = connection.getresponse()
    assert (response.status, response.headers["Content-Type"]) == (413, "application/json")
    assert json.loads(response.read())["error"]["code"] == "too_large"
    connection.close()


def test_a_client_that_sends_its_header_by_drops_is_cut(nginx: Nginx, backends: list[Backend]) -> None:
    answer = exchange(nginx.port, b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    assert answer == b"" or answer.startswith(b"HTTP/1.1 408 ")
    assert asked(backends) == []


def test_handshakes_are_counted_by_address(nginx: Nginx) -> None:
    def statuses(address: str, many: int) -> list[int]:
        return [ask(nginx, "GET", "/ws/chat/", X_Forwarded_For=address)[0] for _ in range(many)]

    flood = statuses("203.0.113.1", 120)
    assert set(flood) == {200, 429}
    assert flood.index(429) >= 40
    assert statuses("203.0.113.2", 5) == [200] * 5


def test_guesses_of_a_password_are_counted_by_address(nginx: Nginx) -> None:
    tries = [ask(nginx, "POST", "/login/", b"x", X_Forwarded_For="203.0.113.1")[0] for _ in range(20)]
    assert (tries[0], tries[-1]) == (200, 429)
    assert ask(nginx, "GET", "/login/", X_Forwarded_For="203.0.113.1")[0] == 200
    assert ask(nginx, "POST", "/login/", b"x", X_Forwarded_For="203.0.113.2")[0] == 200


def test_the_log_holds_no_query(nginx: Nginx) -> None:
    ask(nginx, "GET", "/api/stream?prompt=secret")
    nginx.stop()
    assert re.search(r"^127\.0\.0\.1 GET /api/stream 200 ", nginx.log_text(), re.MULTILINE)
    assert "secret" not in nginx.log_text()


def test_no_location_sets_headers_of_its_own() -> None:
    """nginx inherits proxy_set_header only where none is set: one more line in a location would drop all the others."""
    locations = re.findall(r"location [^{]+\{(.*?)\}", read("deploy/nginx.conf"), re.DOTALL)
    assert len(locations) == 10
    assert not [body for body in locations if "proxy_set_header" in body]
    assert "non_idempotent" not in re.sub(r"#.*", "", read("deploy/nginx.conf"))
