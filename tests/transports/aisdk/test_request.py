"""What a request says, decoded with no server: the turn, and the protocol that its client speaks."""

from typing import Any
from uuid import uuid4

import msgspec
import pytest
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from chat.protocol.errors import ChatError
from chat.protocol.operations import Options
from chat.runs.client_turn import ClientTurn, Said
from chat.transports.aisdk.body import KEY, Body, turn_of
from chat.transports.aisdk.choice import Choice, choose, shape
from chat.transports.aisdk.data_stream import Codes
from tests.transports.aisdk.api import five, four, old

ANSWER = uuid4()
RICH: list[Any] = [
    {"role": "system", "content": "Obey."},
    {"role": "assistant", "content": "How can I help?"},
    {"role": "user", "content": "Hi", "id": "m1", "createdAt": "2024-01-01T00:00:00Z"},
    {
        "role": "assistant",
        "id": str(ANSWER),
        "parts": [
            {"type": "step-start"},
            {"type": "reasoning", "text": "Hm."},
            {"type": "text", "text": "Hel", "state": "done"},
            {
                "type": "tool-weather",
                "toolCallId": "c1",
                "state": "output-available",
                "input": {},
                "output": {"text": 1},
            },
            {"type": "data-note", "text": {"not": "text"}, "data": {}},
            {"type": "text", "text": "lo"},
        ],
        "metadata": {"any": ["thing"]},
    },
    {"role": "tool", "content": [{"type": "tool-result", "result": 42}]},
    {"role": "user", "content": " "},
    {"role": "user", "parts": [{"type": "text", "text": "And"}, {"type": "text", "text": "so?"}], "id": "m2"},
]


def body(fields: dict[str, Any]) -> Body:
    return msgspec.json.decode(msgspec.json.encode(fields), type=Body)


def turn(fields: dict[str, Any]) -> ClientTurn:
    return turn_of(body(fields))


def test_only_what_a_user_may_say_is_taken() -> None:
    found = turn({"messages": RICH, "id": "c1", "trigger": "submit-message", "data": {}, "tools": [1]})
    assert found.said == (
        Said("assistant", "How can I help?"),
        Said("user", "Hi"),
        Said("assistant", "Hello", ANSWER),
        Said("user", "And\nso?"),
    )
    assert (found.chat, found.once, found.appends, found.trusted) == ("c1", True, False, False)
    assert found.options == Options()


def test_what_was_refused_does_not_end_the_chat() -> None:
    told = ["x" * 32_001, "", "a\0b", "", " ", "a\0b", "Hi"]
    assert turn(old(*told)).said == (Said("assistant", ""), Said("assistant", ""), Said("user", "Hi"))


def test_a_trusted_client_says_more(settings: Settings) -> None:
    settings.CHAT_AISDK_TRUST_HISTORY = True
    found = turn({"messages": RICH})
    assert (found.trusted, found.options.system) == (True, "Obey.")
    with pytest.raises(ChatError) as caught:
        turn({"messages": [{"role": "system", "content": "x" * 32_001}, *RICH]})
    assert caught.value.code == "too_large"


def test_a_key_stands_for_all_that_was_sent() -> None:
    asked = five("c1", "Hi", "Hello", "And?")
    first = turn(asked).id
    assert first is not None
    assert first.startswith(KEY)
    assert len(first) <= 64
    assert turn(asked).id == first
    others = [
        five("c2", "Hi", "Hello", "And?"),
        five("c1", "Hi", "Hello", "But?"),
        five("c1", "Hi", "Hello", "And?", trigger="regenerate-message"),
        asked | {"model": "other"},
        {**asked, "messages": [*asked["messages"][:-1], asked["messages"][-1] | {"id": "another"}]},
    ]
    assert len({first, *(turn(other).id for other in others)}) == 1 + len(others)
    for nameless in (old("Hi"), old("Hi", id="c1"), {**asked, "id": None}):
        assert turn(nameless).id is None


def test_a_prompt_sent_alone_has_one_key_for_all_its_answers() -> None:
    alone = {"id": "c1", "message": five("c1", "Hi")["messages"][0]}
    turns = [turn(alone | {"trigger": trigger}) for trigger in ("submit-message", "regenerate-message")]
    assert [each.appends for each in turns] == [True, True]
    assert [each.once for each in turns] == [True, False]
    assert len({each.id for each in turns}) == 1


@pytest.mark.parametrize(
    "fields, told",
    [
        (five("c", "Hi"), Choice("ui")),
        ({"message": five("c", "Hi")["messages"][0]}, Choice("ui")),
        (four("c", "Hi"), Choice("data", Codes.ALL)),
        (old("Hi", id="c"), Choice("data", Codes.IDS)),
        (old("Hi"), Choice("data", Codes.COMMON)),
    ],
)
def test_the_shape(fields: dict[str, Any], told: Choice) -> None:
    assert shape(body(fields)) == told


def test_the_setting_is_asked_last(settings: Settings) -> None:
    plain, factory = Choice("data", Codes.COMMON), RequestFactory()
    assert choose(factory.post("/api/chat"), None, plain) == plain
    settings.CHAT_AISDK_PROTOCOL = "text"
    assert choose(factory.post("/api/chat"), None, plain).protocol == "text"
    auto = factory.post("/api/chat", headers={"X-Chat-Protocol": "auto"})
    assert choose(auto, None, plain) == plain
    assert choose(auto, "ui", plain).protocol == "ui"
    assert choose(factory.post("/api/chat?codes=3.4&protocol=data"), None, Choice("ui")) == Choice("data", Codes.STEPS)
    assert choose(factory.post("/api/chat?codes=3.0"), "data", Choice("ui")) == Choice("data", Codes.COMMON)
    for wrong in ("?codes=2", "?protocol=sse"):
        with pytest.raises(ChatError):
            choose(factory.post(f"/api/chat{wrong}"), None, plain)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner)
)
PARTS = st.fixed_dictionaries(
    {}, optional={"type": st.sampled_from(["text", "file", "x"]), "text": ANYTHING, "data": ANYTHING}
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "tool", "data"])},
    optional={"id": st.none() | st.text(max_size=40), "content": st.text() | st.lists(PARTS), "parts": st.lists(PARTS)},
)
BODIES = st.fixed_dictionaries(
    {"messages": st.lists(MESSAGES | ANYTHING, max_size=4)},
    optional={"id": ANYTHING, "trigger": SCALARS, "message": MESSAGES, "model": SCALARS},
)


@given(BODIES)
def test_whatever_is_sent_is_a_turn_or_refused(fields: dict[str, Any]) -> None:
    try:
        sent = body(fields)
    except msgspec.ValidationError:
        return  # `decode_body` refuses it
    try:
        found = turn_of(sent)
    except ChatError:
        return
    assert found.said[-1].role == "user"
    assert shape(sent) in {Choice("ui"), *(Choice("data", codes) for codes in (Codes.ALL, Codes.IDS, Codes.COMMON))}
