"""What counts as a database that does not answer, and how often it is told."""

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from django.db import DatabaseError, IntegrityError, InterfaceError, InternalError, OperationalError, ProgrammingError

from chat.models import outage

log = logging.getLogger("chat.test_outage")


def caused(kind: type[DatabaseError], cause: Exception) -> DatabaseError:
    """As Django wraps what a driver raised."""
    error = kind(*cause.args)
    error.__cause__ = cause
    return error


def of_sqlite(statement: str, database: str = ":memory:") -> DatabaseError:
    with pytest.raises(sqlite3.OperationalError) as raised, closing(sqlite3.connect(database, timeout=0)) as connection:
        connection.execute(statement)
    return caused(OperationalError, raised.value)


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("the connection is lost"),
        InterfaceError("connection already closed"),
        caused(OperationalError, psycopg.errors.TooManyConnections("sorry, too many clients already")),
        caused(OperationalError, psycopg.errors.AdminShutdown("terminating connection")),
        caused(OperationalError, psycopg.errors.DiskFull("No space left on device")),
        caused(InternalError, psycopg.errors.ReadOnlySqlTransaction("cannot execute INSERT")),
        caused(InternalError, psycopg.errors.IdleInTransactionSessionTimeout("terminating connection")),
    ],
)
def test_these_are_outages(error: Exception) -> None:
    assert outage.is_outage(error)


@pytest.mark.parametrize(
    "error",
    [
        IntegrityError("UNIQUE constraint failed"),
        ProgrammingError('relation "chat_run" does not exist'),
        caused(InternalError, psycopg.errors.InFailedSqlTransaction("current transaction is aborted")),
        ValueError("no"),
        None,
    ],
)
def test_these_are_bugs(error: Exception | None) -> None:
    assert not outage.is_outage(error)


def test_sqlite_calls_a_missing_table_operational_and_it_is_a_bug(tmp_path: Path) -> None:
    assert not outage.is_outage(of_sqlite("SELECT 1 FROM nothing"))
    assert outage.is_outage(of_sqlite("SELECT 1", str(tmp_path)))  # a folder cannot be opened
    with closing(sqlite3.connect(tmp_path / "db")) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        assert outage.is_outage(of_sqlite("CREATE TABLE t (a)", str(tmp_path / "db")))


def test_a_lock_is_told_from_other_outages() -> None:
    assert outage.is_locked(caused(OperationalError, psycopg.errors.LockNotAvailable("lock timeout")))
    assert not outage.is_locked(OperationalError("the connection is lost"))


def test_one_line_a_second_for_each_cause(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("chat.models.outage.time.monotonic", lambda: now)
    error = OperationalError("connection failed: refused\nDETAIL: Key (text)=(what a user wrote)")
    for _ in range(50):
        outage.tell(log, "this", error)
        outage.tell(log, "that", error)
    now += outage.SECONDS
    outage.tell(log, "this", error)
    assert [record.message for record in caplog.records] == [
        "this: connection failed: refused",
        "that: connection failed: refused",
        "this (and 49 more): connection failed: refused",
    ]
