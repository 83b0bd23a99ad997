"""/api/chat on the wire: requests in the shapes of all generations, answers as they come."""

import http.client
import json
import time
from collections.abc import Callable
from email.message import Message
from typing import Any, NamedTuple, Self
from uuid import uuid4

from tests.servers import ServerProcess
from tests.stored import Stored


class Reply:
    """An answer that is read when the test asks for it; leaving its block drops the connection."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection
        self._response = connection.getresponse()
        self.status = self._response.status
        self.headers: Message = self._response.headers
        self.body = b""
        self.cut = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()
        self._connection.close()

    def until(self, words: bytes) -> Self:
        while words not in self.body:
            self.until_more()
        return self

    def until_more(self) -> None:
        piece = self._response.read1()
        assert piece, self.body[-300:]
        self.body += piece

    def whole(self) -> Self:
        try:
            self.body += self._response.read()
        except http.client.IncompleteRead as error:
            self.body += error.partial
            self.cut = True
        return self

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def answer(self) -> str:
        """The words of a data stream or a UI message stream."""
        if self.body.startswith(b"data: "):
            return "".join(chunk["delta"] for chunk in self.chunks if chunk["type"] == "text-delta")
        return "".join(value for code, value in self.codes if code == "0")

    @property
    def chunks(self) -> list[dict[str, Any]]:
        events = [event for event in self.text.split("\n\n") if event.startswith("data: {")]
        return [json.loads(event.removeprefix("data: ")) for event in events]

    @property
    def codes(self) -> list[tuple[str, Any]]:
        return [(line[0], json.loads(line[2:])) for line in self.text.split("\n") if line]

    @property
    def message(self) -> str:
        first = self.chunks[0] if self.body.startswith(b"data: ") else self.codes[0][1]
        return str(first["messageId"])


class Api(NamedTuple):
    """`headers` of somebody: a page's cookie and Origin, or a token."""

    server: ServerProcess
    headers: dict[str, str]

    @classmethod
    def of(cls, server: ServerProcess, cookie: str) -> Self:
        return cls(server, {"Cookie": cookie, "Origin": server.origin})

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, content, {"Content-Type": "application/json"} | self.headers | given)
        return Reply(connection)

    def post(self, body: Any, path: str = "/api/chat", **headers: str) -> Reply:
        return self.ask("POST", path, body, **headers)

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, **headers)


def old(*texts: str, **more: Any) -> dict[str, Any]:
    """2.2 to 4.0."""
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[n % 2], "content": text} for n, text in enumerate(texts)], **more}


def four(chat: str, *texts: str) -> dict[str, Any]:
    """4.2 and 4.3."""
    body = old(*texts, id=chat)
    for number, message in enumerate(body["messages"]):
        message |= {"id": f"{chat}-{number}", "parts": [{"type": "text", "text": message["content"]}]}
    return body


def five(chat: str, *texts: str, trigger: str = "submit-message") -> dict[str, Any]:
    """5 to 7."""
    body = four(chat, *texts)
    for message in body["messages"]:
        del message["content"]
    return {**body, "trigger": trigger}


def new_chat() -> str:
    return uuid4().hex[:16]


def run_of(stored: Stored, prompt: str) -> str:
    """The newest run that answers it."""
    sql = (
        "SELECT r.id FROM chat_run r JOIN chat_message a ON a.id = r.message_id"
        " JOIN chat_message p ON p.id = a.parent_id WHERE p.text = ? ORDER BY r.created DESC LIMIT 1"
    )
    return str(stored.value(sql, prompt))


def wait(holds: Callable[[], bool], seconds: float = 8) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.02)
