"""Bytes that no real run gives at a test's wish, shown to the real hooks: a new attempt, a stop, silence."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import pytest

from chat.transports.aisdk.choice import Choice
from chat.transports.aisdk.data_stream import Codes
from tests.transports.aisdk.hooks import Hook
from tests.transports.aisdk.test_encoders import MESSAGE, ended, events, restarted, started, text, thought

SPOKEN = {3: Choice("data", Codes.COMMON), 4: Choice("data"), 5: Choice("ui"), 7: Choice("ui")}


class Canned(NamedTuple):
    origin: str


@contextmanager
def serving(choice: Choice, pieces: list[bytes]) -> Iterator[Any]:
    headers = {"Content-Type": choice.encoder("").content_type, **choice.encoder("").headers}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            for name, value in {**headers, "Transfer-Encoding": "chunked"}.items():
                self.send_header(name, value)
            self.end_headers()
            for piece in [*filter(None, pieces), b""]:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))

        def log_message(self, *_: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Canned(f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()


def shown(hook: Hook, *steps: tuple[str, Any]) -> dict[str, Any]:
    """The page, after these events with silence between all of them."""
    choice = SPOKEN[hook.generation]
    encoder = choice.encoder(MESSAGE)
    pieces = [encoder.begin()]
    for event in events(*steps):
        pieces += [encoder.encode([event]), encoder.keep_alive]
    with serving(choice, pieces[:-1]) as server:
        page = hook.open(server).ask("Hi")
    assert (page["status"], page["error"]) == ("ready", None)
    return page


def test_silence_says_nothing(hook: Hook) -> None:
    page = shown(hook, started(), thought("Hm."), text("Hel", 1), text("lo", 1), ended("completed", "stop"))
    assert page["text"] == "Hello"
    assert page["messages"][1]["reasoning"] == ("Hm." if hook.generation > 3 else "")


def test_a_new_attempt_comes_behind_the_one_before(hook: Hook) -> None:
    steps = started(), text("Hel"), restarted(), started(2), text("Good"), ended("completed", "stop")
    page = shown(hook, *steps)
    assert page["text"] == ("HelGood" if hook.generation >= 5 else "Hel\n\nGood")
    if hook.generation >= 5:
        assert page["messages"][1]["parts"] == ["step-start", "text", "data-restarted", "step-start", "text"]


@pytest.mark.parametrize("reason", [None, "length", "content_filter", "tool_limit"])
def test_any_end_is_one(hook: Hook, reason: str | None) -> None:
    end = ended("completed", reason) if reason else ended("stopped")
    assert shown(hook, started(), text("Hel"), end)["text"] == "Hel"
