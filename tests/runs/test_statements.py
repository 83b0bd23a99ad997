"""How SQLite runs the statements of a start: none may look at all that a user ever did."""

import sqlite3

import pytest
from django.db import connection
from django.utils import timezone

from chat.models.prepared import Select
from chat.runs import statements


def plan(select: Select, **values: object) -> list[str]:
    """Of the statement as it is sent, traced by the driver with its values in place."""
    sent: list[str] = []
    connection.ensure_connection()
    driver: sqlite3.Connection = connection.connection
    driver.set_trace_callback(sent.append)
    try:
        select.rows(**values)
    finally:
        driver.set_trace_callback(None)
    return [str(row[-1]) for row in driver.execute(f"EXPLAIN QUERY PLAN {sent[0]}")]


@pytest.mark.django_db
def test_the_limits_are_counted_in_indices_alone() -> None:
    steps = plan(statements.MY_RUNS, requester="user:1", created=timezone.now())
    searches = [step for step in steps if "chat_run" in step]
    assert len(searches) == 2
    assert "COVERING INDEX run_unended_of_requester (requester=? AND ended=?)" in searches[0]
    assert "COVERING INDEX run_of_requester (requester=? AND created>?)" in searches[1]
