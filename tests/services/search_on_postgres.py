"""Scenes of search that only Postgres has. Each runs in a process of its own (tests/services/postgres.py)."""

import threading
import time
from typing import Any

from django.core.management import call_command
from django.db import connection, transaction

from chat.models import ChatSession, Message, search_index, search_postgres
from chat.models.ids import new_id
from chat.runs import search
from chat.runs.owner import Owner
from chat.web.accounts import hand_over
from tests.runs import search_scenes as scenes


def migrate_what_is_there() -> dict[str, int]:
    owner = scenes.user(f"early {new_id()}")
    with connection.cursor() as cursor:
        for name in ("session_added", "session_changed"):
            cursor.execute(f"ALTER TABLE chat_chatsession DISABLE TRIGGER chat_search_{name}")
        cursor.execute("ALTER TABLE chat_message DISABLE TRIGGER chat_search_message_added")
        for _ in range(20):
            scenes.chat(owner, "early", "early text", "early answer")
        for table in ("chat_chatsession", "chat_message"):
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER ALL")
    assert scenes.everything(owner, "early") == []
    search_index.BATCH = 7
    search_index.fill(connection)
    call_command("migrate", verbosity=0)
    return {"found": len(scenes.everything(owner, "early")), "again": search_index.fill(connection)}


def end_beside_a_sign_in() -> dict[str, Any]:
    guest, user = Owner(guest=new_id().hex), scenes.user(f"signs in {new_id()}")
    session = scenes.chat(guest, "a title")
    answer = scenes.say(session, "", "assistant", "streaming")
    ended, waited = threading.Event(), threading.Event()

    def sign_in() -> None:
        ended.wait(10)
        hand_over(guest, user)
        waited.set()
        connection.close()

    thread = threading.Thread(target=sign_in)
    thread.start()
    with transaction.atomic():
        Message.objects.filter(id=answer.id).update(text="the answer", status="done")
        ended.set()
        had_to_wait = not waited.wait(1)
    thread.join(10)
    return {"waited": had_to_wait, "found": [hit.snippet for hit in scenes.everything(user, "answer")]}


def store_long_texts() -> dict[str, int]:
    owner = scenes.user(f"long {new_id()}")
    session = scenes.chat(owner, "x")
    many_words = "needle " + " ".join(chr(0x20000 + number % 40_000) * 2 + f"{number:x}" for number in range(60_000))
    texts = [many_words, "needle " + "x" * 2_000_000, "needle " + "é" * 300_000, "needle " + "a-b/c.d@e " * 100_000]
    for text in texts:
        scenes.say(session, text)
    return {"stored": Message.objects.filter(session=session).count(), "found": len(scenes.everything(owner, "needle"))}


def search_among_many(messages: str) -> dict[str, Any]:
    few, many = (scenes.user(f"{name} {new_id()}") for name in ("few", "many"))
    for owner, count in ((few, 100), (many, int(messages))):
        session = scenes.chat(owner, "A title")
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO chat_message (id, session_id, role, status, parts, text, model, created) "
                "SELECT gen_random_uuid(), %s, 'user', 'done', '[]', 'common words and ' || i, '', now() "
                "FROM generate_series(1, %s) AS i",
                [session.id, count],
            )
    while search_postgres.catch_up(connection, 1000):
        pass
    took = []
    for query in ("common", "comm", "words common", "common 9") * 5:
        begun = time.perf_counter()
        search.find(few, query)
        took.append((time.perf_counter() - begun) * 1000)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE chat_searchentry")
        words: list[str | int] = [f"'u{few.user}:common':*", 2**63 - 1, 21]
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {search._HITS_POSTGRES}", words)
        [(explained,)] = cursor.fetchall()
        cursor.execute(f"EXPLAIN {search._HITS_POSTGRES}", words)
        plan = "\n".join(row for (row,) in cursor.fetchall())
    scan = explained[0]["Plan"]
    while "Plans" in scan:
        scan = scan["Plans"][0]
    assert ChatSession.objects.count()
    return {"plan": plan, "rows": scan["Actual Rows"], "milliseconds": sorted(took)[-2]}
