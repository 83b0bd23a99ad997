"""Connections to a real Postgres: how many there are, and when one is given up."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from config.postgres import connection as connections
from config.postgres.connection import Connection, Door, hung_up, limit
from config.postgres.pool import Pool
from tests.servers import free_port

Make = Callable[[], Connection]


@pytest.fixture
def made(database_url: str) -> Iterator[list[Connection]]:
    """All that were made."""
    made: list[Connection] = []
    yield made
    for each in made:
        each.close()


@pytest.fixture
def connect(database_url: str, made: list[Connection]) -> Make:
    def connect() -> Connection:
        made.append(Connection.connect(database_url, autocommit=True))
        return made[-1]

    return connect


def terminate(database_url: str, each: Connection) -> None:
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", [each.info.backend_pid])


def test_one_that_was_given_back_is_taken_again(connect: Make, made: list[Connection]) -> None:
    pool = Pool(2, 0.1)
    first = pool.take(connect)
    pool.give_back(first)
    assert pool.take(connect) is first
    assert len(made) == pool.size == 1


def test_there_are_never_more_than_asked_for(connect: Make, made: list[Connection]) -> None:
    pool = Pool(3, 10)

    def use() -> None:
        mine = pool.take(connect)
        mine.execute("SELECT pg_sleep(0.01)")
        pool.give_back(mine)

    with ThreadPoolExecutor(12) as threads:
        for used in [threads.submit(use) for _ in range(60)]:
            used.result()
    assert len(made) <= 3
    assert pool.size == len(made)


def test_who_gets_none_in_time_is_told(connect: Make) -> None:
    pool = Pool(1, 0.1)
    mine = pool.take(connect)
    with pytest.raises(psycopg.OperationalError, match="all 1 connections"):
        pool.take(connect)
    pool.give_back(mine)
    assert pool.take(connect) is mine


def test_a_try_that_failed_takes_no_place(connect: Make) -> None:
    pool = Pool(1, 0.1)

    def refuse() -> Connection:
        raise psycopg.OperationalError("refused")

    for _ in range(3):
        with pytest.raises(psycopg.OperationalError, match="refused"):
            pool.take(refuse)
    assert pool.take(connect) is not None


def test_after_a_restart_none_of_the_old_ones_is_lent(connect: Make, made: list[Connection], database_url: str) -> None:
    pool = Pool(3, 1)
    old = [pool.take(connect) for _ in range(3)]
    for each in old:
        pool.give_back(each)
    for each in old:
        terminate(database_url, each)
    for _ in range(3):
        pool.take(connect).execute("SELECT 1")
    assert len(made) == 6
    assert all(each.closed for each in old)


def test_one_that_is_given_back_in_a_transaction_is_closed(connect: Make) -> None:
    pool = Pool(1, 0.1)
    mine = pool.take(connect)
    mine.autocommit = False
    mine.execute("SELECT 1")
    pool.give_back(mine)
    assert mine.closed
    assert pool.take(connect) is not mine


def test_what_was_idle_for_long_goes(connect: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("config.postgres.pool.IDLE_SECONDS", 0.05)
    pool = Pool(3, 1)
    taken = [pool.take(connect) for _ in range(3)]
    for each in taken:
        pool.give_back(each)
    time.sleep(0.1)
    pool.give_back(pool.take(connect))
    assert [each.closed for each in taken] == [True, True, False]


def test_a_goodbye_is_seen_without_asking(connect: Make, database_url: str) -> None:
    mine = connect()
    assert not hung_up(mine)
    terminate(database_url, mine)
    assert hung_up(mine)


def test_a_server_that_says_nothing_is_given_up(connect: Make) -> None:
    mine = connect()
    mine.patience = 0.2
    begun = time.monotonic()
    with pytest.raises(psycopg.OperationalError, match=r"no answer for 0\.2 s"):
        mine.execute("SELECT pg_sleep(30)")
    assert time.monotonic() - begun < 5
    assert mine.closed


def test_a_lock_is_waited_for_briefly_and_the_connection_stays(connect: Make) -> None:
    holder, mine = connect(), connect()
    limit(mine, statement=5, lock=0.05)
    holder.execute("CREATE TABLE held AS SELECT 1 AS a")
    try:
        with holder.transaction():
            holder.execute("SELECT a FROM held FOR UPDATE")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                mine.execute("UPDATE held SET a = 2")
        mine.execute("UPDATE held SET a = 2")
    finally:
        holder.execute("DROP TABLE held")


def test_after_a_try_that_failed_nobody_tries_for_a_moment(monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    tried = threading.Event()
    real = Connection.connect

    def connect(**params: object) -> Connection:
        tried.set()
        return real(**params)  # type: ignore[arg-type]

    monkeypatch.setattr(connections.Connection, "connect", connect)
    door = Door()
    away = {"host": "127.0.0.1", "port": free_port(), "connect_timeout": 2}
    with pytest.raises(psycopg.OperationalError):
        door.connect(away)
    tried.clear()
    with pytest.raises(psycopg.OperationalError):
        door.connect({"conninfo": database_url})
    assert not tried.is_set()
    monkeypatch.setattr(connections, "RETRY_SECONDS", 0.0)
    door = Door()
    with pytest.raises(psycopg.OperationalError):
        door.connect(away)
    door.connect({"conninfo": database_url}).close()
