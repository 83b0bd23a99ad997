"""The test upstream: speaks OpenAI's Chat Completions over real TCP and misbehaves on request."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Self

import msgspec

from tests.upstream import text
from tests.upstream.connection import Connection, Request, Response
from tests.upstream.play import Act, Reply, usage_of
from tests.upstream.script import BadScenario, Scenario, scenario_in, tool_round
from tests.upstream.stats import Ledger, Stats

MODELS: dict[str, int | None] = {"test-model": None, "test-small": 8192}
HTML = b"<!doctype html><title>502 Bad Gateway</title><h1>502 Bad Gateway</h1>"


class UpstreamServer:
    """A request's scenario: what it holds itself, else the next one of `script`, else `scenario`."""

    def __init__(
        self,
        scenario: Scenario | None = None,
        *,
        api_key: str | None = None,
        models: dict[str, int | None] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.scenario = scenario or Scenario()
        self.api_key = api_key
        self.models = dict(MODELS if models is None else models)  # id → context_length
        self.ledger = Ledger()
        self._scripted: deque[Scenario] = deque()
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._replies = 0
        self.host, self.port = host, port

    @property
    def base_url(self) -> str:
        return f"http://{self.host}:{self.port}/v1"

    @property
    def stats(self) -> Stats:
        return self.ledger.stats

    def script(self, *scenarios: Scenario) -> None:
        """Queue scenarios for the next streaming requests that hold none themselves."""
        self._scripted.extend(scenarios)

    def wait(self, holds: Callable[[Stats], bool], timeout: float = 5) -> Stats:
        """From another thread than the server's."""
        return self.ledger.wait(holds, timeout)

    async def until(self, holds: Callable[[Stats], bool], timeout: float = 5) -> Stats:
        return await self.ledger.until(holds, timeout)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), self.host, self.port, backlog=2048)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._server is not None:
            self._server.close()
            for connection in tuple(self._connections):
                connection.transport.abort()
            await self._server.wait_closed()

    # What a connection tells and asks.

    def connected(self, connection: Connection) -> None:
        self._connections.add(connection)
        self.ledger.connect()

    def disconnected(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def ended(self, reply: Reply, act: Act) -> None:
        self.ledger.end("finished" if act is Act.END or reply.scenario.framing == "close" else "broken", reply.chunks)

    def aborted(self, reply: Reply, number: int) -> None:
        self.ledger.abort(reply.scenario.seed, reply.chunks, number)

    def respond(self, request: Request) -> Response:
        route = request.method, request.path
        if route == ("GET", "/_stats"):
            return Response(body=self.ledger.as_json())
        if route == ("POST", "/_reset"):
            self.ledger.reset()
            self._scripted.clear()
            return Response.of(200, {})
        if self.api_key is not None and request.headers.get("authorization") != f"Bearer {self.api_key}":
            return _error(401, "Incorrect API key provided", "invalid_api_key")
        if route == ("GET", "/v1/models"):
            return Response.of(200, {"object": "list", "data": [self._model(name) for name in self.models]})
        if route == ("POST", "/v1/chat/completions"):
            return self._complete(request)
        return _error(404, f"Unknown request URL: {request.method} {request.path}", "unknown_url")

    def _model(self, name: str) -> dict[str, Any]:
        length = self.models[name]
        model = {"id": name, "object": "model", "created": 0, "owned_by": "tests"}
        return model if length is None else {**model, "context_length": length}

    def _complete(self, request: Request) -> Response:
        try:
            body = msgspec.json.decode(request.body, type=dict[str, Any])
            scenario = scenario_in(body)
        except (msgspec.DecodeError, BadScenario) as error:
            return _error(400, str(error), "bad_scenario")
        self._replies += 1
        reply = Reply(scenario or self.scenario, f"chatcmpl-{self._replies}", str(body.get("model", "")))
        if not body.get("stream"):
            return self._titled(body, reply)
        if scenario is None and self._scripted:
            reply.scenario = self._scripted.popleft()
        tries = self.ledger.arrive(body, reply.scenario.seed)
        response = self._refusal(reply, tries)
        response.headers["x-request-id"] = f"req-{self._replies}"
        if response.reply is None:
            self.ledger.end("refused" if response.status >= 400 else "finished", 0)
            return response
        options = body.get("stream_options")
        reply.include_usage = isinstance(options, dict) and bool(options.get("include_usage"))
        reply.tools = tool_round(body) < (reply.scenario.tool_rounds if reply.scenario.tool_calls else 0)
        return response

    def _titled(self, body: dict[str, Any], reply: Reply) -> Response:
        self.ledger.arrive_title(body)
        if reply.scenario.title_status != 200:
            return _error(reply.scenario.title_status, "no title today", None)
        return Response.of(200, _completion(reply, text.title(reply.scenario.seed)))

    def _refusal(self, reply: Reply, tries: int) -> Response:
        """The answer that is no stream, if the scenario wants one."""
        scenario = reply.scenario
        if scenario.context_error:
            return _error(400, "This model's maximum context length is 8192 tokens.", "context_length_exceeded")
        failing = scenario.status != 200 if not scenario.fail_first else tries <= scenario.fail_first
        if failing:
            return _failure(scenario)
        if scenario.html:
            return Response(body=HTML, content_type="text/html")
        if scenario.json_body:
            return Response.of(200, _completion(reply, scenario.text))
        if scenario.empty_body:
            return Response(content_type=scenario.content_type)
        return Response(content_type=scenario.content_type, headers={"cache-control": "no-cache"}, reply=reply)


def _failure(scenario: Scenario) -> Response:
    status = scenario.status if scenario.status != 200 else 503
    response = _error(status, f"upstream says {status}", None)
    if isinstance(scenario.body, str):
        response.body, response.content_type = scenario.body.encode(), "text/plain"
    elif scenario.body is not None:
        response.body = msgspec.json.encode(scenario.body)
    if scenario.retry_after is not None:
        response.headers["retry-after"] = f"{scenario.retry_after:g}"
    if scenario.retry_after_ms is not None:
        response.headers["retry-after-ms"] = str(scenario.retry_after_ms)
    return response


def _error(status: int, message: str, code: str | None) -> Response:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return Response.of(status, {"error": {"message": message, "type": kind, "param": None, "code": code}})


def _completion(reply: Reply, content: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    return {
        "id": reply.id,
        "object": "chat.completion",
        "created": 0,
        "model": reply.model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": usage_of(reply),
    }
