"""Import: of ChatGPT's file what was said, and of whatever else an answer."""

import asyncio
import time
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.protocol.errors import ChatError
from chat.protocol.exchange import FiledSession
from chat.runs import import_store, importing
from chat.runs.conversations import Conversation
from chat.runs.engine import Engine
from chat.runs.importing import Report
from chat.runs.owner import Owner
from tests.runs import chatgpt_file as chatgpt
from tests.runs.exchange import exported, imported
from tests.runs.helpers import ask, wait_ended

pytestmark = pytest.mark.django_db(transaction=True)


# ChatGPT's file -------------------------------------------------------------------------------------------------------


async def tree_of(engine: Engine, owner: Owner, conversation: dict[str, Any]) -> tuple[FiledSession, list[Any]]:
    report = await imported(engine, owner, chatgpt.file(conversation))
    assert report == Report(1, 0, [])
    [session] = await exported(engine, owner)
    by_id = {message.id: message for message in session.messages}

    def said(id_: UUID | None) -> str | None:
        return "".join(part["text"] for part in by_id[id_].parts if part["type"] == "text") if id_ else None

    return session, [(said(message.parent), message.role, said(message.id)) for message in session.messages]


async def test_edits_and_further_answers_are_branches(engine: Engine, alice: Owner) -> None:
    session, said = await tree_of(engine, alice, chatgpt.EDITED)
    assert said == [
        (None, "user", "Helo"),
        (None, "user", "Hello"),
        ("Hello", "assistant", "Hi."),
        ("Hello", "assistant", "Good day."),
        ("Helo", "assistant", "Did you mean hello?"),
    ]
    assert [message.model for message in session.messages] == ["", "", "gpt-4o", "gpt-4o", "gpt-4"]
    assert session.messages[2].id == session.active
    assert session.title == "A conversation"
    assert session.created.timestamp() == 1_700_000_000.5
    assert session.messages[4].created.timestamp() == 1_700_000_002.0
    page = await engine.state(alice, session.id)
    assert [message.text for message in page.messages] == ["Hello", "Hi."]
    assert len(page.messages[1].siblings) == 2


async def test_a_time_too_long_for_a_float_is_none(engine: Engine, alice: Owner) -> None:
    first = chatgpt.node("a", None, "user", "Hello", at=10**400)
    session, said = await tree_of(engine, alice, chatgpt.conversation(first, create_time=10**400))
    assert said == [(None, "user", "Hello")]
    assert session.created.year < 9000


async def test_an_answer_of_many_nodes_is_put_together_at_once(engine: Engine, alice: Owner) -> None:
    """Each copied with what is before it, this would take minutes."""
    nodes = [chatgpt.node("n0", None, "assistant", "y" * 3_000_000)]
    nodes += [chatgpt.node(f"n{number}", f"n{number - 1}", "assistant", "x") for number in range(1, 20_000)]
    begun = time.perf_counter()
    _, [(_, _, text)] = await tree_of(engine, alice, chatgpt.conversation(*nodes))
    assert text == "\n\n".join(["y" * 3_000_000, *["x"] * 19_999])
    assert time.perf_counter() - begun < 20


@pytest.mark.parametrize(
    "head", [b'{"other": "%s"}', b'{"format": "tokenwire", "version": 1, "x": "%s", "sessions": []}']
)
async def test_what_is_long_and_no_list_is_refused_unread(engine: Engine, alice: Owner, head: bytes) -> None:
    with pytest.raises(ChatError, match="bad_frame"):
        await importing.import_file(engine, alice, head % (b"y" * 100_000))


async def test_reasoning_code_and_text_are_one_answer_without_what_tools_said(engine: Engine, alice: Owner) -> None:
    session, _ = await tree_of(engine, alice, chatgpt.WITH_TOOLS)
    prompt, answer = session.messages
    assert prompt.parts == [{"type": "text", "text": "[image]\n\nWhat is this?\n\nPlease."}]
    assert answer.parts == [
        {"type": "reasoning", "text": "Hm."},
        {"type": "text", "text": "```python\nprint(1)\n```\n\nIt is a picture."},
    ]
    assert (session.title, session.active) == ("[image] What is this? Please.", answer.id)


async def test_one_can_go_on_with_an_imported_chat_session(engine: Engine, alice: Owner) -> None:
    session, _ = await tree_of(engine, alice, chatgpt.EDITED)
    accepted = await ask(engine, alice, "And now?", session=session.id)
    run = await wait_ended(engine, alice, accepted.run)
    assert run.status == "completed"
    assert run.session.title == "A conversation"
    page = await engine.state(alice, session.id)
    assert [message.text for message in page.messages] == ["Hello", "Hi.", "And now?", "Hello world"]


async def test_what_is_malformed_is_skipped_and_told_and_the_rest_is_imported(engine: Engine, alice: Owner) -> None:
    report = await imported(
        engine, alice, chatgpt.file(chatgpt.EDITED, *chatgpt.MALFORMED.values(), chatgpt.WITH_TOOLS)
    )
    assert (report.imported, report.unchanged) == (2, 0)
    assert [skipped.title for skipped in report.skipped] == list(chatgpt.MALFORMED)
    assert all(skipped.reason for skipped in report.skipped)


async def test_whoever_has_no_dates_and_no_children_is_imported_all_the_same(engine: Engine, alice: Owner) -> None:
    bare = {
        "mapping": {
            "a": {"message": {"author": {"role": "user"}, "content": {"parts": ["one"]}, "create_time": "soon"}},
            "b": {"parent": "a", "message": {"author": {"role": "assistant"}, "content": {"parts": ["two", None, 3]}}},
            "c": {"parent": "gone", "message": {"author": {"role": "user"}, "content": {"parts": ["three \0"]}}},
        },
        "current_node": 5,
        "title": ["no", "text"],
        "create_time": float("1e300"),
    }
    session, said = await tree_of(engine, alice, bare)
    assert set(said) == {(None, "user", "one"), ("one", "assistant", "two"), (None, "user", "three \ufffd")}
    assert session.title == "one"
    assert (await imported(engine, alice, chatgpt.file(bare))).unchanged == 1


# Whatever comes -------------------------------------------------------------------------------------------------------

AT = "2020-01-01T00:00:00Z"
OURS = {"id": str(UUID(int=9)), "title": "t", "created": AT, "updated": AT, "messages": []}


def ours(**fields: Any) -> dict[str, Any]:
    return {"format": "tokenwire", "version": 1, "sessions": [{**OURS, **fields}]}


@pytest.mark.parametrize(
    "body, code",
    [
        (b"", "bad_json"),
        (b"\xff\xfe", "bad_json"),
        (b"[{", "bad_json"),
        (b'[{}, {"a": ]', "bad_json"),
        (b"null", "bad_frame"),
        (b'"text"', "bad_frame"),
        (b"{}", "bad_frame"),
        (b'{"sessions": []}', "bad_frame"),
        (b'{"format": "other", "version": 1, "sessions": []}', "bad_frame"),
        (b'{"format": "tokenwire", "version": 2, "sessions": []}', "bad_frame"),
        (b"[" * 100_000, "bad_json"),
        (b"[" + b"{}," * 10_001 + b"{}]", "too_large"),
    ],
)
async def test_what_is_no_export_is_refused(engine: Engine, alice: Owner, body: bytes, code: str) -> None:
    with pytest.raises(ChatError) as refused:
        await imported(engine, alice, body)
    assert refused.value.code == code


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "no id"},
        {"created": "yesterday"},
        {"messages": {}},
        {"messages": [{}]},
        {"title": 5},
        {"messages": [{"id": str(UUID(int=1)), "parent": None, "role": "system", "parts": [], "created": AT}]},
        {
            "messages": [
                {"id": str(UUID(int=1)), "parent": str(UUID(int=2)), "role": "user", "parts": [], "created": AT}
            ]
        },
        {"messages": [{"id": str(UUID(int=1)), "parent": None, "role": "user", "parts": [], "created": AT}] * 2},
        {
            "messages": [
                {"id": str(UUID(int=1)), "parent": None, "role": "user", "parts": [{"type": "text"}], "created": AT}
            ]
        },
    ],
)
async def test_what_is_wrong_in_a_chat_session_skips_it(engine: Engine, alice: Owner, fields: dict[str, Any]) -> None:
    report = await imported(engine, alice, ours(**fields))
    assert (report.imported, report.unchanged, len(report.skipped)) == (0, 0, 1)


async def test_odd_values_are_taken_as_far_as_they_can_be_stored(engine: Engine, alice: Owner) -> None:
    parts = [{"type": "text", "text": "a\0b"}, {"type": "unheard of", "x": 1}]
    about = {"id": str(UUID(int=1)), "parent": None, "role": "user", "created": "9999-12-31T23:59:59+00:00"}
    message = {**about, "parts": parts}
    report = await imported(engine, alice, ours(created="0001-01-01T00:00:00+14:00", updated=AT, messages=[message]))
    assert report == Report(1, 0, [])
    [session] = await exported(engine, alice)
    assert session.messages[0].parts == [{"type": "text", "text": "a\ufffdb"}]


SAMPLE = chatgpt.file(chatgpt.EDITED, chatgpt.WITH_TOOLS)


@given(
    st.lists(
        st.tuples(st.integers(0, len(SAMPLE) - 1), st.binary(max_size=3), st.integers(0, 40)), min_size=1, max_size=4
    )
)
def test_no_bytes_are_met_with_anything_but_an_answer(cuts: list[tuple[int, bytes, int]]) -> None:
    data = SAMPLE
    for at, put, drop in cuts:
        data = data[:at] + put + data[at + drop :]
    try:
        spans, is_ours = importing._take_apart(data)
    except ChatError:
        return
    for each in importing._convert(data, spans, is_ours):
        assert isinstance(each, Conversation | importing.Skipped)
        if isinstance(each, Conversation):
            assert each.digest
            import_store._rows(each)


async def test_a_second_import_of_the_same_user_waits(engine: Engine, alice: Owner, bob: Owner) -> None:
    first = asyncio.ensure_future(imported(engine, alice, chatgpt.file(chatgpt.EDITED)))
    await asyncio.sleep(0)
    with pytest.raises(ChatError, match="busy"):
        await imported(engine, alice, chatgpt.file())
    assert await imported(engine, bob, chatgpt.file()) == Report(0, 0, [])
    assert (await first).imported == 1
    assert await imported(engine, alice, chatgpt.file()) == Report(0, 0, [])


async def test_so_many_import_at_once_and_no_more(
    engine: Engine, alice: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = {Owner(guest=f"guest {number}") for number in range(importing.MOST_AT_ONCE)}
    monkeypatch.setattr(importing, "_importing", others)
    with pytest.raises(ChatError) as refused:
        await importing.import_file(engine, alice, b"[]")
    assert (refused.value.code, refused.value.retryable) == ("busy", True)
    others.pop()
    assert (await importing.import_file(engine, alice, b"[]")).imported == 0
    assert alice not in others
