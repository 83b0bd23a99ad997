"""Export and import: what goes out comes in again, once."""

import asyncio
import json
import random
import time
from typing import Any
from uuid import UUID

import pytest

from chat.models import ChatSession, Message
from chat.runs import export, import_store, search
from chat.runs.engine import Engine
from chat.runs.importing import Report
from chat.runs.owner import Owner
from chat.web.accounts import hand_over
from tests.runs import chatgpt_file as chatgpt
from tests.runs.exchange import exported, imported, shape, whole
from tests.runs.search_scenes import caught_up

pytestmark = pytest.mark.django_db(transaction=True)

TEXTS = ["Hello", "", "Ünï\n\ncode 日本語 😀", 'quotes " \\ </script>', "# heading\n```\ncode\n```", "\u2028 \x01"]


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

    # By hand: what earlier tests deleted may still wait to be taken out of the index.
    await engine.writer.call(caught_up)
    assert (await engine.read(search.find, alice, "number599"))[0] != []
    assert (await engine.read(search.find, bob, "number599"))[0] == []


async def test_a_long_import_that_fails_leaves_nothing(
    engine: Engine, alice: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [chatgpt.node(str(n), str(n - 1) if n else None, "user", "x") for n in range(250)]
    insert, calls = import_store._insert, []

    def fail_late(messages: Any) -> None:
        calls.append(len(messages))
        if len(calls) == 3:
            raise RuntimeError("the power fails")
        insert(messages)

    monkeypatch.setattr(import_store, "_insert", fail_late)
    with pytest.raises(RuntimeError):
        await imported(engine, alice, chatgpt.file(chatgpt.conversation(*nodes)))
    assert calls == [50, 50, 50]
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
