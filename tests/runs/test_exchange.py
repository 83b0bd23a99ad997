"""Export and import: what goes out comes in again, once, and whatever comes in is answered."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.models import ChatSession, Message
from chat.protocol.errors import ChatError
from chat.protocol.exchange import FiledSession
from chat.runs import export, importing, search
from chat.runs.conversations import Conversation
from chat.runs.engine import Engine
from chat.runs.importing import Report
from chat.runs.owner import Owner
from chat.web.accounts import hand_over
from tests.runs import chatgpt_file as chatgpt
from tests.runs.helpers import ask, until, wait_ended

pytestmark = pytest.mark.django_db(transaction=True)

TEXTS = ["Hello", "", "Ünï\n\ncode 日本語 😀", 'quotes " \\ </script>', "# heading\n```\ncode\n```", "\u2028 \x01"]


async def whole(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


async def exported(engine: Engine, owner: Owner) -> list[FiledSession]:
    file = json.loads(await whole(export.as_json(engine, owner)))
    assert (file["format"], file["version"]) == ("tokenwire", 1)
    return [msgspec.convert(session, FiledSession) for session in file["sessions"]]


async def imported(engine: Engine, owner: Owner, data: Any) -> Report:
    return await importing.import_file(engine, owner, data if isinstance(data, bytes) else json.dumps(data).encode())


def shape(session: FiledSession) -> Any:
    """All that a chat session is but its ids: messages by their place in the tree."""
    places: dict[UUID | None, tuple[int, ...]] = {None: ()}
    children: dict[UUID | None, int] = {}
    messages = []
    for message in session.messages:
        number = children[message.parent] = children.get(message.parent, 0) + 1
        place = places[message.id] = (*places[message.parent], number)
        messages.append((place, message.role, message.status, message.parts, message.model, message.created))
    about = (session.title, session.model, session.system, session.archived, session.created, session.updated)
    return about, sorted(messages, key=lambda each: each[0]), places[session.active] if session.active else None


def grow(owner: Owner, seed: int, sessions: int = 3) -> None:
    """Some chat sessions with random trees."""
    chance = random.Random(seed)
    for number in range(sessions):
        session = ChatSession.objects.create(
            owner_id=owner.user,
            title=chance.choice(["", "A title", "Ärger / 😀"]),
            model=chance.choice(["", "m1"]),
            system_prompt=chance.choice(["", "Be brief."]),
            archived=chance.random() < 0.3,
        )
        messages: list[Message] = []
        for _ in range(chance.choice([0, 1, 12, 40]) if number else 150):
            parent = chance.choice([None, *messages[-5:]])
            parts = [{"type": "text", "text": chance.choice(TEXTS)}]
            if chance.random() < 0.2:
                parts.insert(0, {"type": "reasoning", "text": "Hm."})
            role = "assistant" if parent is not None and parent.role == "user" else "user"
            status = chance.choice(["done", "done", "stopped", "failed"]) if role == "assistant" else "done"
            text = "".join(part["text"] for part in parts if part["type"] == "text")
            made = Message.objects.create(
                session=session, parent=parent, role=role, status=status, parts=parts, text=text, model=session.model
            )
            messages.append(made)
        if messages:
            ChatSession.objects.filter(id=session.id).update(active_leaf=chance.choice(messages))


# A round trip ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
async def test_what_was_exported_is_the_same_once_it_is_imported(
    engine: Engine, alice: Owner, bob: Owner, seed: int
) -> None:
    await engine.write(grow, alice, seed)
    file = await whole(export.as_json(engine, alice))
    assert await imported(engine, bob, file) == Report(3, 0, [])
    hers, his = await exported(engine, alice), await exported(engine, bob)
    assert sorted(map(repr, map(shape, hers))) == sorted(map(repr, map(shape, his)))
    ids = [{message.id for session in side for message in session.messages} for side in (hers, his)]
    assert not ids[0] & ids[1]
    texts = await engine.read(lambda: [(m.text, m.parts) for m in Message.objects.all()])
    assert all(text == "".join(part["text"] for part in parts if part["type"] == "text") for text, parts in texts)


async def test_a_file_that_is_imported_again_makes_nothing_new(engine: Engine, alice: Owner, bob: Owner) -> None:
    await engine.write(grow, alice, 1)
    file = await whole(export.as_json(engine, alice))
    assert await imported(engine, alice, file) == Report(0, 3, [])  # they are here
    assert await imported(engine, bob, file) == Report(3, 0, [])
    assert await imported(engine, bob, file) == Report(0, 3, [])
    again = await whole(export.as_json(engine, bob))
    assert await imported(engine, bob, again) == Report(0, 3, [])
    assert await imported(engine, bob, chatgpt.file(chatgpt.EDITED, chatgpt.EDITED)) == Report(1, 1, [])


async def test_what_was_deleted_may_be_imported_again(engine: Engine, alice: Owner) -> None:
    await engine.write(grow, alice, 2)
    file = await whole(export.as_json(engine, alice))
    await engine.write(lambda: alice.sessions().delete())
    assert await imported(engine, alice, file) == Report(3, 0, [])


async def test_a_conversation_that_went_on_since_is_left_as_it_is(engine: Engine, alice: Owner) -> None:
    await imported(engine, alice, chatgpt.file(chatgpt.EDITED))
    before = await exported(engine, alice)
    longer = {
        **chatgpt.EDITED,
        "mapping": {**chatgpt.EDITED["mapping"], "u4": chatgpt.node("u4", "a2", "user", "More")},
    }
    report = await imported(engine, alice, chatgpt.file(longer, {**chatgpt.EDITED, "title": "Renamed"}))
    assert (report.imported, report.unchanged, [skipped.title for skipped in report.skipped]) == (
        0,
        1,
        ["A conversation"],
    )
    assert "changed since" in report.skipped[0].reason
    assert await exported(engine, alice) == before


async def test_a_long_chat_session_is_imported_wholly_while_others_write(
    engine: Engine, alice: Owner, bob: Owner
) -> None:
    parent, messages = None, []
    for number in range(600):
        id_ = str(UUID(int=number + 1))
        parts = [{"type": "text", "text": f"number{number} " + "word " * 50}]
        role = "assistant" if number % 2 else "user"
        messages.append({"id": id_, "parent": parent, "role": role, "parts": parts, "created": "2020-01-01T00:00:00Z"})
        parent = id_
    at = "2020-01-01T00:00:00Z"
    session = {
        "id": str(UUID(int=7)),
        "title": "Long",
        "created": at,
        "updated": at,
        "active": parent,
        "messages": messages,
    }
    file = {"format": "tokenwire", "version": 1, "sessions": [session]}
    importing_ = asyncio.ensure_future(imported(engine, alice, file))
    waits = []
    while not importing_.done():
        begun = time.perf_counter()
        await engine.writer.call(int)
        waits.append(time.perf_counter() - begun)
        await asyncio.sleep(0.002)
    assert await importing_ == Report(1, 0, [])
    print(f"the longest wait for the writer beside an import: {max(waits) * 1000:.0f} ms")
    assert max(waits) < 0.5
    [stored] = await exported(engine, alice)
    assert len(stored.messages) == 600
    assert await imported(engine, alice, file) == Report(0, 1, [])

    async def last_is_found() -> bool:
        return bool((await engine.read(search.find, alice, "number599"))[0])

    await until(last_is_found, seconds=20)
    assert (await engine.read(search.find, bob, "number599"))[0] == []


async def test_a_long_import_that_fails_leaves_nothing(
    engine: Engine, alice: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [chatgpt.node(str(n), str(n - 1) if n else None, "user", "x") for n in range(250)]
    insert, calls = importing._insert, []

    def fail_late(messages: Any) -> None:
        calls.append(len(messages))
        if len(calls) == 3:
            raise RuntimeError("the power fails")
        insert(messages)

    monkeypatch.setattr(importing, "_insert", fail_late)
    with pytest.raises(RuntimeError):
        await imported(engine, alice, chatgpt.file(chatgpt.conversation(*nodes)))
    assert calls == [100, 100, 50]
    assert await engine.read(lambda: (ChatSession.objects.count(), Message.objects.count())) == (0, 0)
    monkeypatch.undo()
    assert (await imported(engine, alice, chatgpt.file(chatgpt.conversation(*nodes)))).imported == 1


async def test_what_a_dead_process_left_is_cleared_away(engine: Engine, alice: Owner) -> None:
    def left() -> None:
        for id_, guest in (
            (UUID(int=5 << 80), "import:dead"),
            (None, "import:alive"),
            (UUID(int=6 << 80), "important"),
        ):
            session = ChatSession(guest=guest)
            session.id = id_ or session.id
            session.save()

    await engine.write(left)
    await imported(engine, alice, chatgpt.file())
    assert await engine.read(lambda: set(ChatSession.objects.values_list("guest", flat=True))) == {
        "import:alive",
        "important",
    }


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
            importing._rows(each)


async def test_a_second_import_of_the_same_user_waits(engine: Engine, alice: Owner, bob: Owner) -> None:
    first = asyncio.ensure_future(imported(engine, alice, chatgpt.file(chatgpt.EDITED)))
    await asyncio.sleep(0)
    with pytest.raises(ChatError, match="busy"):
        await imported(engine, alice, chatgpt.file())
    assert await imported(engine, bob, chatgpt.file()) == Report(0, 0, [])
    assert (await first).imported == 1
    assert await imported(engine, alice, chatgpt.file()) == Report(0, 0, [])


# Markdown -------------------------------------------------------------------------------------------------------------


async def test_markdown_is_the_active_branch(engine: Engine, alice: Owner) -> None:
    await imported(engine, alice, chatgpt.file(chatgpt.EDITED))
    text = (await whole(export.as_markdown(engine, alice))).decode()
    assert text == ("# A conversation\n\n2023-11-14 22:13 UTC\n\n## User\n\nHello\n\n## Assistant (gpt-4o)\n\nHi.\n")


async def test_many_and_long_messages_are_read_by_pages(
    engine: Engine, alice: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "PAGE_CHARS", 2_000)
    monkeypatch.setattr(export, "SESSIONS", 2)
    nodes = [chatgpt.node(str(n), str(n - 1) if n else None, "user", f"{n} " + "x" * 900) for n in range(90)]
    files = [chatgpt.conversation(*nodes[:count], id=str(count), conversation_id=str(count)) for count in (90, 1, 2)]
    assert (await imported(engine, alice, chatgpt.file(*files))).imported == 3
    pieces = [piece async for piece in export.as_json(engine, alice)]
    assert max(map(len, pieces)) < 12_000
    assert sorted(len(session["messages"]) for session in json.loads(b"".join(pieces))["sessions"]) == [1, 2, 90]
    marked = [piece async for piece in export.as_markdown(engine, alice)]
    assert max(map(len, marked)) < 12_000
    assert b"".join(marked).count(b"## User") == 93


@pytest.mark.parametrize(
    "title, name",
    [
        (None, "chats"),
        ("", "chat"),
        ('../../etc/passwd";\r\nX: y', "etc-passwd-X-y"),
        ("Ärger & Co. 日本", "Ärger-Co-日本"),
        ("x" * 500, "x" * 60),
    ],
)
def test_a_file_name_is_harmless(title: str | None, name: str) -> None:
    assert export.file_name("json", title).startswith(f"{name}-20")
    assert export.file_name("json", title).endswith(".json")


async def test_a_guest_who_imported_what_the_user_imported_may_sign_in(engine: Engine, alice: Owner) -> None:
    guest = Owner(guest="charlie")
    for owner in (alice, guest):
        assert (await imported(engine, owner, chatgpt.file(chatgpt.EDITED))).imported == 1
    assert (await imported(engine, guest, chatgpt.file(chatgpt.WITH_TOOLS))).imported == 1
    await engine.write(hand_over, guest, alice)
    assert len(await exported(engine, alice)) == 3
    assert (await imported(engine, alice, chatgpt.file(chatgpt.EDITED, chatgpt.WITH_TOOLS))).unchanged == 2
