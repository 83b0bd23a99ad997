"""A program that uses /api/: with a cookie and its CSRF token, with an API token, or with nothing at all."""

import http.client
import json
from email.message import Message
from typing import Any, NamedTuple

from tests.servers import ServerProcess
from tests.tokens import Token
from tests.visitors import Visitor


class Answer(NamedTuple):
    status: int
    body: Any
    headers: Message

    @property
    def code(self) -> str:
        """Of its error, which has all that an error must have."""
        error = self.body["error"]
        assert (
            {"code", "message", "retryable"}
            <= set(error)
            <= {
                *("code", "message", "retryable", "field", "top", "retry_after_s"),
            }
        )
        assert error["message"][-1] in ".!?"
        return str(error["code"])


class Rest:
    def __init__(self, server: ServerProcess, who: Visitor | Token | None = None, **headers: str) -> None:
        """`headers` go before those of `who`; an empty one is not sent."""
        self.port = server.port
        self.headers: dict[str, str] = {}
        if isinstance(who, Token):
            self.headers = who.headers
        elif who is not None:
            self.headers = {"Cookie": who.cookie, "X-CSRFToken": who.cookies["csrftoken"]}
        self.headers |= headers

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        sent = self.headers | headers
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            sent = {"Content-Type": "application/json"} | sent
        try:
            connection.request(method, path, body, {name: value for name, value in sent.items() if value})
            response = connection.getresponse()
            text = response.read()
            return Answer(response.status, _decoded(response, text), response.headers)
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        return self._well(self.ask("GET", path), 200)

    def post(self, path: str, body: Any, status: int = 201) -> Any:
        return self._well(self.ask("POST", path, body), status)

    def patch(self, path: str, body: Any) -> Any:
        return self._well(self.ask("PATCH", path, body), 200)

    def delete(self, path: str) -> None:
        self._well(self.ask("DELETE", path), 204)

    def _well(self, answer: Answer, status: int) -> Any:
        assert answer.status == status, answer
        assert answer.headers["Cache-Control"] == "no-store"
        return answer.body


def _decoded(response: http.client.HTTPResponse, text: bytes) -> Any:
    if text and response.headers.get_content_type() == "application/json":
        return json.loads(text)
    return text.decode(errors="replace") or None
