"""What the test upstream does with one request, and how a request says so itself."""

from collections.abc import Iterator
from json import JSONDecodeError, JSONDecoder
from typing import Any, Literal

import msgspec

from tests.upstream import text

GRIN = "\ud83d", "\ude00"  # 😀 as the two halves that JSON escapes make of it
_DECODER = JSONDecoder()


class ToolCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    arguments: str = "{}"  # may be invalid JSON on purpose


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Every `…_after` is a number of text chunks; 0 means after the headers and before the first token."""

    seed: int | str = 0
    chunks: int = 20
    rate: float = 0  # chunks per second; 0 = as fast as the client reads
    first_token_delay: float = 0
    slow_headers: float = 0
    stamp: bool = False  # each piece begins with 16 hex digits of time.monotonic_ns()

    # How the answer ends.
    finish: str | None = "stop"
    done: bool = True
    usage: Literal["last", "in_finish", "nonempty", "none"] = "last"  # "last" only if asked for, as OpenAI does
    stall_after: int | None = None  # silence, connection open
    cut_after: int | None = None  # RST; -1 = before the headers
    cut_after_bytes: int | None = None  # RST inside the body
    fin_after: int | None = None  # FIN without the end of the HTTP body
    eof_after: int | None = None  # the HTTP body ends well, the answer does not
    garbage_after: int | None = None  # one event that is not JSON, then on as if nothing happened
    error_after: int | None = None
    error: dict[str, Any] | str | None = None  # None: a server_error
    error_style: Literal["data", "event", "typed"] = "data"  # "typed": {"type": "error"}, no error key

    # Instead of a stream.
    status: int = 200
    body: dict[str, Any] | str | None = None  # of an error status
    retry_after: float | None = None
    retry_after_ms: int | None = None
    fail_first: int = 0  # this many tries of the seed get `status` (503 if none is set), then it works
    context_error: bool = False
    html: bool = False
    json_body: bool = False
    empty_body: bool = False
    title_status: int = 200  # of requests with stream=false

    # How it is put on the wire.
    write: Literal["event", "byte", "burst"] = "event"
    burst: int = 8  # events per write of "burst"
    framing: Literal["chunked", "close"] = "chunked"
    gzip: bool = False
    content_type: str = "text/event-stream; charset=utf-8"
    line_end: Literal["\n", "\r\n", "\r"] = "\n"
    bom: bool = False
    comments: bool = False
    multi_line_data: bool = False
    no_space: bool = False
    escape: bool = False  # JSON with \uXXXX for all that is not ASCII

    # What is in it.
    reasoning: int = 0  # chunks before the text
    reasoning_field: Literal["reasoning_content", "reasoning"] = "reasoning_content"
    null_fields: bool = False
    duplicate: int | None = None  # this chunk is sent twice
    surrogate_halves: bool = False  # after every fifth chunk a 😀 as two deltas
    huge_chunk: int = 0  # characters of one more delta before the first chunk
    refusal: bool = False  # the text comes as delta.refusal
    tool_calls: tuple[ToolCall, ...] = ()
    tool_rounds: int = 1  # requests of one turn that are answered by tool_calls, before the text
    tool_text: int = 0  # chunks of text before the calls
    tool_style: Literal["split", "interleaved", "whole", "repeat"] = "split"  # "repeat": id and name in every delta

    @property
    def prompt(self) -> str:
        """A user message that asks for this scenario."""
        return msgspec.json.encode(self).decode() if self != Scenario() else '{"seed":0}'

    @property
    def limit(self) -> int:
        """How many text chunks are sent."""
        ends = (self.stall_after, self.cut_after, self.fin_after, self.eof_after, self.error_after)
        return max(0, min([self.chunks, *(end for end in ends if end is not None)]))

    @property
    def text(self) -> str:
        """What a client has to show in the end (without stamps; not meant for cut_after_bytes)."""
        deltas = "".join(delta for _, delta in pieces(self))
        return deltas.encode("utf-16-le", "surrogatepass").decode("utf-16-le")

    @property
    def reasoning_text(self) -> str:
        return text.expected_text(f"{self.seed}/reasoning", self.reasoning)


class BadScenario(Exception):
    """A request names a seed and something that is no field of a scenario: a typo in a test."""


def pieces(scenario: Scenario) -> Iterator[tuple[int, str]]:
    """(index of the chunk, delta): one chunk may be more than one delta."""
    for index in range(scenario.limit):
        if index == 0 and scenario.huge_chunk:
            yield index, text.huge(scenario.huge_chunk)
        piece = text.piece(scenario.seed, index)
        yield index, piece
        if index == scenario.duplicate:
            yield index, piece
        if scenario.surrogate_halves and index % 5 == 0:
            yield index, GRIN[0]
            yield index, GRIN[1]


def scenario_in(body: dict[str, Any]) -> Scenario | None:
    """The scenario that the last user message or the model's name holds."""
    for source in (_last_user_text(body), str(body.get("model", ""))):
        found = _object_in(source)
        if found and (found.keys() <= set(Scenario.__struct_fields__) or "seed" in found):
            try:
                return msgspec.convert(found, Scenario)
            except msgspec.ValidationError as error:
                raise BadScenario(str(error)) from error
    return None


def tool_round(body: dict[str, Any]) -> int:
    """How often this turn was answered by tool calls already."""
    turns = 0
    for message in reversed(_messages(body)):
        if message.get("role") == "user":
            break
        turns += bool(message.get("tool_calls"))
    return turns


def _messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    messages = body.get("messages")
    return [message for message in messages if isinstance(message, dict)] if isinstance(messages, list) else []


def _last_user_text(body: dict[str, Any]) -> str:
    for message in reversed(_messages(body)):
        if message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, list):
                return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
            return str(content)
    return ""


def _object_in(source: str) -> dict[str, Any] | None:
    start = source.find("{")
    if start < 0:
        return None
    try:
        found, _ = _DECODER.raw_decode(source, start)
    except (JSONDecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
