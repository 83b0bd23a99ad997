"""The examples of Server-Sent Events on docs/protocol.md: what the server would send, and a client can add up."""

import re

import msgspec
import pytest
from django.urls import URLPattern

from chat.api.app import api
from chat.protocol import frames, sse
from chat.protocol.events import Event, PartDelta, encode_data
from chat.transports import sse as views
from chat.transports.prompting import Body
from chat.transports.streaming import HEARTBEAT_SECONDS
from chat.urls import urlpatterns
from tests.docs.pages import blocks, read, section
from tests.docs.test_protocol_page import EVENTS, again
from tests.sseclient import Sent, StreamView

PAGE = section(read("docs/protocol.md"), "HTTP")
STREAMS = blocks(PAGE, "sse")
REQUESTS = blocks(PAGE, "http")
RUN = "01900000-0000-7000-8000-000000000013"


def events(block: str) -> list[Sent]:
    found = []
    for text in re.findall(r"(?:[^\n]+\n)+", block):
        fields = dict(line.split(": ", 1) for line in text.splitlines())
        if "data" in fields:
            found.append(Sent(fields.get("event", ""), fields["data"], fields["id"], text + "\n"))
    return found


ALL = [event for block in STREAMS for event in events(block)]


def test_it_works() -> None:
    assert (len(STREAMS), len(REQUESTS)) == (3, 2)
    assert {event.name for event in ALL} >= {"", "run.accepted", "run.snapshot", "reasoning.delta", "run.completed"}


@pytest.mark.parametrize("event", ALL, ids=lambda event: f"{event.seq} {event.name}")
def test_an_event_is_byte_for_byte_what_the_server_sends(event: Sent) -> None:
    if event.name == "":
        stored = Event(event.seq, "text.delta", encode_data(PartDelta(1, event.frame["content"])))
        assert sse.of_event(event.run, stored).decode() == event.raw
    elif event.name in EVENTS:
        fields = {name: value for name, value in event.frame.items() if name not in {"type", "run", "seq"}}
        assert again(fields, EVENTS[event.name]) == fields
        data = msgspec.json.encode(msgspec.convert(fields, EVENTS[event.name])).decode()
        assert sse.of_event(event.run, Event(event.seq, event.name, data)).decode() == event.raw
    elif event.name == "run.accepted":
        assert sse.of_accepted(msgspec.convert(event.frame, frames.RunAccepted)).decode() == event.raw
    else:
        snapshot = msgspec.convert(event.frame, frames.Snapshot)
        assert sse.of_snapshot(snapshot, after=1).decode() == event.raw


@pytest.mark.parametrize("block", STREAMS)
def test_a_stream_adds_up_to_the_text_that_its_end_proves(block: str) -> None:
    first, view = events(block)[0], StreamView(RUN)
    if first.seq == 7 and "snapshot" not in block:  # the one that is resumed
        for event in events(STREAMS[0])[:4]:
            view.hear(event)
    for event in events(block):
        view.hear(event)
    assert view.over


def test_the_requests_are_understood() -> None:
    prompt, resumed = REQUESTS
    assert msgspec.json.decode(prompt.split("\n\n")[1], type=Body).prompt == "Hello"
    assert sse.position(resumed.split("Last-Event-ID: ")[1].strip())[1] == 3
    told = set(re.findall(r"(?:GET|POST) /api/([^\s?`]+)", PAGE.replace(section(PAGE, "useChat"), "")))
    known = {re.sub(r"<str:(\w+)>", r"{\1}", str(each.pattern)) for each in urlpatterns if isinstance(each, URLPattern)}
    known |= {path.removeprefix("/api/") for path in api.get_openapi_schema()["paths"]}
    assert told - {f"runs/{RUN}/events", "docs"} <= known
    assert set(Body.__struct_fields__) <= set(re.findall(r"`(\w+)`", PAGE))


def test_the_figures_are_those_of_the_code() -> None:
    assert views.RETRY_SECONDS == (0.5, 1.5)
    assert f"After\n  {HEARTBEAT_SECONDS:.0f} s without a word" in PAGE
    for retry in re.findall(r"^retry: (\d+)$", PAGE, re.MULTILINE):
        assert 500 <= int(retry) <= 1500
