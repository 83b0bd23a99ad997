"""A scenario as steps: bytes to write now, a moment to wait for, or an act. No sockets and no clock but for the stamp.

Steps are made lazily, one ahead of the wire, so that 20,000 chunks cost no memory and a stamp is as old as its write.
"""

import enum
import json
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from tests.upstream import text
from tests.upstream.script import Scenario, ToolCall, pieces


class Act(enum.Enum):
    TURN = "let the event loop turn, so that the next write is one of its own"
    STALL = "silence from here on"
    CUT = "RST"
    FIN = "close"
    END = "the response is whole"


Step = bytes | float | Act  # a float is a moment: seconds since the request


@dataclass(slots=True)
class Reply:
    scenario: Scenario
    id: str
    model: str
    include_usage: bool = False
    tools: bool = False  # this one is answered by tool calls
    chunks: int = 0  # text chunks handed to the socket so far


class Events:
    """Builds the SSE events of one reply in the scenario's style."""

    def __init__(self, reply: Reply) -> None:
        scenario = reply.scenario
        self.scenario = scenario
        self.eol = scenario.line_end.encode()
        self.field = b"data:" if scenario.no_space else b"data: "
        self.before = b": keep-alive" + self.eol if scenario.comments else b""
        self.head = b'{"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,' % (
            msgspec.json.encode(reply.id),
            int(time.time()),
            msgspec.json.encode(reply.model),
        )
        self.plain = not (scenario.escape or scenario.surrogate_halves)

    def event(self, payload: bytes) -> bytes:
        if self.scenario.multi_line_data:
            payload = payload.replace(b',"choices":', b"," + self.eol + self.field + b'"choices":', 1)
        return b"%b%b%b%b%b" % (self.before, self.field, payload, self.eol, self.eol)

    def value(self, value: Any) -> bytes:
        # msgspec refuses lone surrogates; json writes them as the escapes that we want.
        return msgspec.json.encode(value) if self.plain else json.dumps(value).encode()

    def delta(self, field: bytes, value: Any) -> bytes:
        return self.event(
            b'%b"choices":[{"index":0,"delta":{"%b":%b},"finish_reason":null}]}' % (self.head, field, self.value(value))
        )

    def chunk(self, rest: dict[str, Any]) -> bytes:
        return self.event(self.head + self.value(rest)[1:])


def play(reply: Reply) -> Iterator[Step]:
    """The body of the response."""
    scenario, events = reply.scenario, Events(reply)
    if scenario.bom:
        yield b"\xef\xbb\xbf"
    if scenario.first_token_delay:
        yield scenario.first_token_delay
    first = {"role": "assistant", "content": ""}
    yield events.chunk({"choices": [{"index": 0, "delta": first, "finish_reason": None}]})
    field = scenario.reasoning_field.encode()
    for index in range(scenario.reasoning):
        yield from _wait(scenario, index)
        yield events.delta(field, text.piece(f"{scenario.seed}/reasoning", index))
    if reply.tools:
        yield from _call_tools(reply, events)
    else:
        yield from _tell(reply, events)


def _wait(scenario: Scenario, index: int) -> Iterator[Step]:
    if scenario.rate:
        yield scenario.first_token_delay + index / scenario.rate


def _tell(reply: Reply, events: Events) -> Iterator[Step]:
    scenario, last = reply.scenario, -1
    field = b"refusal" if scenario.refusal else b"content"
    for index, delta in pieces(scenario):
        if index != last:
            last = index
            yield from _between(scenario, events, index)
            yield from _wait(scenario, scenario.reasoning + index)
            reply.chunks = index + 1
        yield events.delta(field, text.stamp(time.monotonic_ns()) + delta if scenario.stamp else delta)
    yield from _end(reply, events)


def _between(scenario: Scenario, events: Events, index: int) -> Iterator[Step]:
    if index == scenario.garbage_after:
        yield events.event(b'{"choices":[{"delta":{"content":"cut of')
    if scenario.null_fields:
        yield events.chunk(_ODDITIES[index % len(_ODDITIES)])


_ODDITIES: tuple[dict[str, Any], ...] = (
    {"choices": None},
    {"choices": []},
    {"choices": [{"index": 0, "delta": None, "finish_reason": None}]},
    {"choices": [{"index": 0, "delta": {"content": None, "role": None, "tool_calls": None}}]},
    {"choices": [{"index": 0, "delta": {"colour": "blue"}, "finish_reason": None, "mood": [1]}], "obfuscation": "xxxx"},
    {"choices": [{"index": 0}], "usage": None, "service_tier": None},
)


def _end(reply: Reply, events: Events) -> Iterator[Step]:
    scenario, sent = reply.scenario, reply.chunks
    if sent == scenario.stall_after:
        yield Act.STALL
    elif sent == scenario.cut_after:
        yield Act.CUT
    elif sent == scenario.fin_after:
        yield Act.FIN
    elif sent == scenario.error_after:
        yield _error(scenario, events)
    elif sent != scenario.eof_after:
        if sent == scenario.garbage_after:
            yield from _between(scenario, events, sent)
        yield from _wait(scenario, scenario.reasoning + sent)
        yield from _finish(reply, events, scenario.finish)


_SERVER_ERROR = {"message": "the model fell over", "type": "server_error", "code": "server_error"}


def _error(scenario: Scenario, events: Events) -> bytes:
    error = _SERVER_ERROR if scenario.error is None else scenario.error
    if scenario.error_style == "typed":
        fields = error if isinstance(error, dict) else {"message": error}
        return events.event(events.value({**fields, "type": "error"}))
    event = events.event(events.value({"error": error}))
    return b"event: error" + events.eol + event if scenario.error_style == "event" else event


def _finish(reply: Reply, events: Events, reason: str | None) -> Iterator[Step]:
    scenario = reply.scenario
    usage = {"usage": usage_of(reply)}
    choice = {"index": 0, "delta": {}, "finish_reason": reason}
    yield events.chunk({"choices": [choice], **(usage if scenario.usage == "in_finish" else {})})
    if scenario.usage == "last" and reply.include_usage:
        yield events.chunk({"choices": [], **usage})
    elif scenario.usage == "nonempty":
        yield events.chunk({"choices": [{"index": 0, "delta": {}, "finish_reason": None}], **usage})
    if scenario.done:
        yield events.event(b"[DONE]")


def usage_of(reply: Reply) -> dict[str, Any]:
    written = reply.chunks + reply.scenario.reasoning
    return {
        "prompt_tokens": 11,
        "completion_tokens": written,
        "total_tokens": 11 + written,
        "completion_tokens_details": {"reasoning_tokens": reply.scenario.reasoning},
    }


def _call_tools(reply: Reply, events: Events) -> Iterator[Step]:
    scenario = reply.scenario
    for index in range(scenario.tool_text):
        yield from _wait(scenario, scenario.reasoning + index)
        reply.chunks = index + 1
        yield events.delta(b"content", text.piece(scenario.seed, index))
    for number, call in enumerate(_tool_deltas(reply)):
        yield from _wait(scenario, scenario.reasoning + scenario.tool_text + number)
        yield events.delta(b"tool_calls", [call])
    yield from _finish(reply, events, "tool_calls")


def _tool_deltas(reply: Reply) -> list[dict[str, Any]]:
    scenario = reply.scenario
    calls = [list(_one_call(reply, index, call)) for index, call in enumerate(scenario.tool_calls)]
    if scenario.tool_style == "interleaved":
        longest = max(len(deltas) for deltas in calls)
        return [deltas[at] for at in range(longest) for deltas in calls if at < len(deltas)]
    return [delta for deltas in calls for delta in deltas]


def _one_call(reply: Reply, index: int, call: ToolCall) -> Iterator[dict[str, Any]]:
    name = {"id": f"call-{reply.id}-{index}", "type": "function"}
    if reply.scenario.tool_style == "whole":
        yield {"index": index, **name, "function": {"name": call.name, "arguments": call.arguments}}
        return
    repeat = reply.scenario.tool_style == "repeat"
    yield {"index": index, **name, "function": {"name": call.name, "arguments": ""}}
    for start in range(0, len(call.arguments), 5):
        function = {"arguments": call.arguments[start : start + 5]}
        if repeat:
            yield {"index": index, **name, "function": {"name": call.name, **function}}
        else:
            yield {"index": index, "function": function}


def on_wire(reply: Reply, head: bytes) -> Iterator[Step]:
    """The whole response: headers, then the body as the scenario wants it written and framed."""
    scenario = reply.scenario
    if scenario.slow_headers:
        yield scenario.slow_headers
    if scenario.cut_after == -1:
        yield Act.CUT
    yield head
    steps = play(reply)
    if scenario.gzip:
        steps = _zipped(steps)
    if scenario.write == "byte":
        steps = _byte_by_byte(steps)
    elif scenario.write == "burst":
        steps = _in_bursts(steps, scenario.burst)
    if scenario.cut_after_bytes is not None:
        steps = _cut_inside(steps, scenario.cut_after_bytes)
    if scenario.framing == "close":
        yield from steps
        yield Act.FIN
        return
    for step in steps:
        yield b"%x\r\n%b\r\n" % (len(step), step) if type(step) is bytes else step
    yield b"0\r\n\r\n"
    yield Act.END


def _zipped(steps: Iterator[Step]) -> Iterator[Step]:
    packer = zlib.compressobj(wbits=31)
    for step in steps:
        if isinstance(step, bytes):
            yield packer.compress(step) + packer.flush(zlib.Z_SYNC_FLUSH)
        else:
            yield step
    yield packer.flush()


def _byte_by_byte(steps: Iterator[Step]) -> Iterator[Step]:
    for step in steps:
        if isinstance(step, bytes):
            for at in range(len(step)):
                yield step[at : at + 1]
                yield Act.TURN
        else:
            yield step


def _in_bursts(steps: Iterator[Step], size: int) -> Iterator[Step]:
    held: list[bytes] = []
    for step in steps:
        if isinstance(step, bytes):
            held.append(step)
        if held and (len(held) >= size or isinstance(step, Act)):
            yield b"".join(held)
            held.clear()
        if not isinstance(step, bytes):
            yield step
    if held:
        yield b"".join(held)


def _cut_inside(steps: Iterator[Step], left: int) -> Iterator[Step]:
    for step in steps:
        if isinstance(step, bytes):
            if len(step) >= left:
                if left:
                    yield step[:left]
                yield Act.CUT
            left -= len(step)
        yield step
