"""docs/protocol.md cannot go stale: its examples are decoded by the server's own structs, and are one conversation."""

import json
import re
from typing import Any, NamedTuple, get_args

import msgspec
import pytest
from msgspec import Struct

from chat.protocol import codec, events, frames, operations
from chat.protocol.errors import ERRORS, ChatError
from chat.runs import history, start
from chat.transports import limits
from tests.docs.pages import blocks, read, rows, section
from tests.wsclient import RunView

PAGE = read("docs/protocol.md")
WRONG = "(wrong)"

OPERATIONS: dict[str, type[Struct]] = {
    str(kind.__struct_config__.tag): kind for kind in get_args(operations.AnyOperation)
}
FRAMES: dict[str, type[Struct]] = {
    str(kind.__struct_config__.tag): kind
    for kind in (
        frames.Hello,
        frames.RunAccepted,
        frames.Ok,
        frames.Pong,
        frames.Error,
        frames.Snapshot,
        frames.SessionState,
        frames.SessionChanged,
    )
}
EVENTS: dict[str, type[Struct]] = {
    "run.started": events.RunStarted,
    "run.restarted": events.RunRestarted,
    **dict.fromkeys(events.DELTAS, events.PartDelta),
    **dict.fromkeys(events.TERMINAL, events.RunEnded),
}


class Example(NamedTuple):
    from_client: bool
    text: str
    wrong: bool = False

    @property
    def fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = json.loads(self.text)
        return fields


def examples(page: str) -> list[Example]:
    found = []
    for block in blocks(page):
        for item in re.split(r"^(?=[→←] )", block, flags=re.MULTILINE):
            if item.strip():
                arrow, _, text = item.strip().partition(" ")
                assert arrow in {"→", "←"}, item
                found.append(Example(arrow == "→", text.removesuffix(WRONG).strip(), text.endswith(WRONG)))
    return found


ALL = examples(PAGE)
SENT = [example for example in ALL if example.from_client]
RECEIVED = [example for example in ALL if not example.from_client]


def label(example: Example) -> str:
    return f"{ALL.index(example)} {example.fields['type']}"


def test_it_works() -> None:
    assert len(SENT) > 10
    assert len(RECEIVED) > 20


@pytest.mark.parametrize("example", SENT, ids=label)
def test_an_operation_is_understood_and_has_no_unknown_field(example: Example) -> None:
    if example.wrong:
        with pytest.raises(ChatError):
            codec.decode(example.text, prompt_chars=32_000)
        return
    operation = codec.decode(example.text, prompt_chars=32_000)
    assert type(operation) is OPERATIONS[example.fields["type"]]
    known = {"type", *operation.__struct_fields__}
    assert set(example.fields) <= known
    assert set(example.fields.get("options", ())) <= set(operations.Options.__struct_fields__)


@pytest.mark.parametrize("example", RECEIVED, ids=label)
def test_a_frame_has_exactly_the_fields_that_the_server_sends(example: Example) -> None:
    fields = dict(example.fields)
    kind = fields["type"]
    if kind in EVENTS:
        assert uuid(fields.pop("run"))
        del fields["type"]
        assert fields.pop("from", 1) <= fields.pop("seq")
        assert again(fields, EVENTS[kind]) == fields
    else:
        assert again(fields, FRAMES[kind]) == fields
    for part in parts_in(example.fields):
        assert set(part) == {"type", "text"}
        assert part["type"] in {"text", "reasoning"}


def again(fields: dict[str, Any], kind: type[Struct]) -> Any:
    """Decoded and encoded: an unknown field is lost on the way, one that is always sent turns up."""
    return json.loads(msgspec.json.encode(msgspec.convert(fields, kind)))


def uuid(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text) is not None


def parts_in(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, list):
        return [part for item in value for part in parts_in(item)]
    if isinstance(value, dict):
        return list(value.get("parts", [])) + [part for inner in value.values() for part in parts_in(inner)]
    return []


@pytest.mark.parametrize(
    "message", [m for e in RECEIVED for m in e.fields.get("messages", ())], ids=lambda m: m["id"][-4:]
)
def test_a_messages_usage_and_error_are_those_of_its_run(message: dict[str, Any]) -> None:
    if usage := message.get("usage"):
        assert again(usage, events.UsageReport) == usage
    assert (message["role"] == "assistant") == ("run" in message)
    assert message["text"] == "".join(part["text"] for part in message["parts"] if part["type"] == "text")
    assert message["id"] in message["siblings"]


def test_the_example_errors_carry_the_tables_word_on_retrying() -> None:
    errors = [example.fields for example in RECEIVED if example.fields["type"] == "error"]
    errors += [example.fields["error"] for example in RECEIVED if "error" in example.fields]
    assert errors
    for error in errors:
        assert error["retryable"] == ERRORS[error["code"]].retryable


def test_the_runs_add_up_in_the_eyes_of_a_client_that_believes_nothing() -> None:
    views: dict[str, RunView] = {}
    told: dict[str, list[dict[str, Any]]] = {}
    ended = 0
    for example in ALL:
        fields = example.fields
        if fields["type"] == "run.follow":
            views[fields["run"]] = resumed(fields["run"], told[fields["run"]], fields["after"])
        elif fields["type"] == "run.accepted":
            views[fields["run"]] = RunView(fields["run"])
        elif not example.from_client:
            for snapshot in fields.get("runs", ()):
                views.setdefault(snapshot["run"], RunView(snapshot["run"])).take(snapshot)
            if fields["type"] in EVENTS or fields["type"] == "run.snapshot":
                views.setdefault(fields["run"], RunView(fields["run"])).take(fields)
                told.setdefault(fields["run"], []).append(fields)
                ended += fields["type"] in events.TERMINAL
    assert ended >= 5


def resumed(run: str, told: list[dict[str, Any]], after: int) -> RunView:
    """What a client holds that has taken the run's events up to `after` and no more."""
    held = RunView(run)
    for frame in told:
        if held.seq < frame["seq"] <= after and frame["type"] != "run.snapshot":
            held.take(frame)
    return held


def test_every_operation_and_every_frame_has_an_example() -> None:
    assert {example.fields["type"] for example in SENT} == set(OPERATIONS)
    assert {example.fields["type"] for example in RECEIVED} == set(FRAMES) | set(EVENTS)


def test_the_tables_name_every_field_and_no_other() -> None:
    told = {name: fields_told(cells[1]) for cells in rows(section(PAGE, "All operations")) for name in coded(cells[0])}
    assert set(told) == set(OPERATIONS)
    for name, kind in OPERATIONS.items():
        expected = set(kind.__struct_fields__) - {"id"}
        if "options" in expected and name == "prompt.send":
            expected |= set(operations.Options.__struct_fields__)
        assert told[name] == expected, name


def test_the_frame_table_names_every_field() -> None:
    told = {name: cells[1] for cells in rows(section(PAGE, "All frames")) for name in coded(cells[0])}
    assert set(told) == set(FRAMES) | set(EVENTS)
    for name, kind in (FRAMES | EVENTS).items():
        if name in events.TERMINAL - {"run.completed"}:
            continue  # told by what they add to run.completed
        expected = fields_of(kind) | ({"run", "seq"} if name in EVENTS else set())
        expected |= {"from"} if name in events.DELTAS else set()
        expected -= {"error", "status", "request_id", "code", "retryable"} if name == "run.completed" else set()
        assert fields_told(told[name]) - {"run.snapshot"} == expected, name
    assert {"code", "message", "retryable", "status", "request_id"} <= fields_told(told["run.failed"])


def fields_of(kind: type[Struct]) -> set[str]:
    """Its own fields and those of the structs in them, but those of a frame in a frame."""
    found: set[str] = set()
    for field in msgspec.structs.fields(kind):
        found.add(field.name)
        for inner in (field.type, *get_args(field.type)):
            if isinstance(inner, type) and issubclass(inner, Struct) and inner.__struct_config__.tag is None:
                found |= fields_of(inner)
    return found


def coded(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def fields_told(cell: str) -> set[str]:
    return set(coded(cell))


def test_the_limits_are_those_of_the_code() -> None:
    table = section(PAGE, "Limits")
    assert f"{codec.FRAME_BYTES:,}" in table
    assert f"more than {limits.FLOOD} refused" in table
    assert f"{limits.WINDOW_BYTES:,} bytes" in section(PAGE, "Flow control")
    assert f"{events.MERGED_CHARS:,} characters" in PAGE
    assert f"newest {history.PAGE}" in PAGE
    assert f"Within {start.IDEMPOTENCY.total_seconds() / 3600:.0f} hours" in PAGE


def test_nothing_is_told_of_what_is_not_there() -> None:
    assert "tool." not in PAGE
    assert "useChat" not in PAGE
