"""What a list asks of the database must not grow with the table."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from chat.admin import messages, pagination, sessions
from tests.admin.people import chat, lengthen, log, many

ROWS = 300
LISTS = ["chatsession", "message", "run"]
PARTIAL = ("chatsession_archived", "run_estimated")
MONTH = timezone.now() - timedelta(hours=1)
QUERIES = [
    ("chatsession", ""),
    ("chatsession", "p=2"),
    ("chatsession", "archived__exact=1"),
    ("chatsession", "created__year={month.year}&created__month={month.month}"),
    ("chatsession", "q=crowd"),
    ("chatsession", "q=Chat"),
    ("message", ""),
    ("message", "role__exact=user"),
    ("message", "status=failed"),
    ("message", "created__year={month.year}&created__month={month.month}"),
    ("message", 'q="word"'),
    ("message", "q=018f0000-0000-7000-8000-000000000000"),
    ("run", ""),
    ("run", "p=3"),
    ("run", "status=failed"),
    ("run", "status=completed&model=rare"),
    ("run", "model=m1"),
    ("run", "error_code=upstream_cut"),
    ("run", "estimated=1"),
    ("run", "created__year={month.year}&created__month={month.month}"),
    ("run", "q=018f0000-0000-7000-8000-000000000000"),
    ("run", "q=req_1"),
    ("run", "q=user:1"),
    ("run", "q=crowd"),
]


@pytest.fixture
def crowded(root: Client) -> Client:
    many(ROWS)
    return root


def queries(client: Client, url: str) -> list[str]:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        response = client.get(url)
    assert response.status_code == 200, url
    return [query["sql"] for query in captured]


def plan(sql: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN QUERY PLAN " + sql.replace("%", "%%"))
        return [row[-1] for row in cursor.fetchall()]


@pytest.mark.parametrize("name, query", QUERIES)
def test_a_list_takes_few_queries_and_reads_no_table_from_end_to_end(
    crowded: Client, monkeypatch: pytest.MonkeyPatch, name: str, query: str
) -> None:
    monkeypatch.setattr(sessions, "SEARCHED_TITLES", 50)
    monkeypatch.setattr(messages, "SEARCHED_TEXTS", 50)
    asked = queries(crowded, f"/admin/chat/{name}/?{query.format(month=MONTH)}")
    assert len(asked) <= 15
    for sql in asked:
        assert "django_datetime" not in sql
        assert "DISTINCT" not in sql
        if re.search(r"COUNT\(", sql) and not re.search(r"LIMIT \d+", sql):
            pytest.fail(f"counts without bound: {sql}")
        for step in plan(sql):
            assert _stops_early(step, sql), (step, sql)


def _stops_early(step: str, sql: str) -> bool:
    if step == "USE TEMP B-TREE FOR ORDER BY":
        # Only what an id or a name selects is few enough to be sorted.
        return " IN (" in sql or '"request_id" =' in sql
    if re.match(r"SCAN chat_\w+\b(?! USING)", step):
        # Fine for the first so many of all rows, or of every other one.
        where = sql.partition(" WHERE ")[2]
        return "LIMIT" in sql and (not where or where.startswith('"chat_message"."role" ='))
    # In the order of an index it ends with the page; a partial index holds nothing but what was asked for.
    return not step.startswith("SCAN chat_") or "LIMIT" in sql or step.endswith(PARTIAL)


@pytest.mark.parametrize("name", LISTS)
def test_a_longer_table_takes_no_more_queries(root: Client, alice: User, name: str) -> None:
    chat(alice)
    few = len(queries(root, f"/admin/chat/{name}/"))
    many(ROWS)
    assert len(queries(root, f"/admin/chat/{name}/")) == few


@pytest.mark.parametrize("name", LISTS)
def test_no_more_than_the_bound_is_counted(crowded: Client, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(pagination, "MOST", 200)
    html = crowded.get(f"/admin/chat/{name}/").content.decode()
    assert "more than 200" in html
    assert "?p=2" in html
    assert "?p=3" not in html


def test_a_search_reaches_only_the_newest(crowded: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "SEARCHED_TEXTS", 50)
    html = crowded.get('/admin/chat/message/?q="word"').content.decode()
    assert "50 found" in html


def test_a_rare_model_is_found_by_its_index_and_not_among_all_completed(crowded: Client) -> None:
    asked = queries(crowded, "/admin/chat/run/?status=completed&model=rare")
    steps = [step for sql in asked if "'rare'" in sql for step in plan(sql)]
    assert any("run_by_model" in step for step in steps)
    assert not any("run_by_status" in step for step in steps)


def test_lists_leave_long_columns_in_the_database(crowded: Client) -> None:
    for name in LISTS:
        for sql in queries(crowded, f"/admin/chat/{name}/"):
            selected = sql.split(" FROM ")[0]
            for column in ("system_prompt", "parts", "error_detail", "options", '"chat_message"."text",'):
                assert column not in selected.replace('SUBSTR("chat_message"."text",', ""), sql


def test_a_long_transcript_and_a_long_log_take_few_queries(root: Client, alice: User) -> None:
    made = chat(alice)
    lengthen(made, 150)
    log(made.run, 450)
    assert len(queries(root, f"/admin/chat/chatsession/{made.session.pk}/change/")) <= 15
    assert len(queries(root, f"/admin/chat/run/{made.run.pk}/change/")) <= 15


def test_the_dates_drill_down_from_years_to_a_day(crowded: Client) -> None:
    url = "/admin/chat/run/"
    for unit, value in (("year", MONTH.year), ("month", MONTH.month), ("day", MONTH.day)):
        html = crowded.get(url).content.decode()
        found = re.search(rf'<a href="(\?[^"]*created__{unit}={value}\b[^"]*)"', html)
        assert found, (unit, url)
        url = "/admin/chat/run/" + found[1].replace("&amp;", "&")
    html = crowded.get(url).content.decode()
    assert 0 < html.count("field-created") <= 24
