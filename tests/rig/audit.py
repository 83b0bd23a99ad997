"""What must hold after every fault, asked of the database, the upstream and the logs, past the processes themselves.

I1 no gap, no repeat, no reorder: every client checks each frame (tests/wsclient.py), the log is contiguous. I2 the text
is the upstream's. I3 what a client was shown is in the log. I4 one terminal event, the last. I5 no more upstream calls
than attempts. I6 one key, one run. I7 no run is left running. I8 all clients end with the same. I9 no task was lost.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import psycopg

from chat.protocol.events import TERMINAL
from tests.stored import Stored
from tests.upstream import expected_text

if TYPE_CHECKING:
    from tests.rig.clients import Crowd
    from tests.rig.deployment import Deployment

NOT_OURS_TO_LOSE = ("Task was destroyed", "never retrieved", "was never awaited")


class PostgresStored(Stored):
    """Asks a Postgres what `Stored` asks a SQLite file."""

    def __init__(self, url: str) -> None:
        self.url = url

    def rows(self, sql: str, *params: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as connection:
            return connection.execute(sql.replace("?", "%s"), params).fetchall()

    def change(self, sql: str, *params: object) -> int:
        with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as connection:
            return connection.execute(sql.replace("?", "%s"), params).rowcount

    def sound(self) -> bool:
        return True  # Postgres checks itself at its start, and ends if it is not


def audit(deployment: "Deployment", crowds: "Sequence[Crowd]", *, completed: bool = True) -> None:
    """Raises AssertionError. `completed`: whether every run has to have its whole answer, not only an honest end."""
    stored = deployment.stored
    asked: dict[str, int] = deployment.upstream_stats()["tries"]
    assert stored.unended() == 0, "I7"
    for crowd in crowds:
        _check(stored, crowd, asked.get(crowd.seed, 0), completed=completed)
    runs, keys = stored.rows("SELECT count(*), count(DISTINCT (requester, idempotency_key)) FROM chat_run")[0]
    assert runs == keys, "I6"
    log = deployment.log_text()
    for trouble in NOT_OURS_TO_LOSE:
        assert trouble not in log, f"I9: {log[-6000:]}"


def _check(stored: Stored, crowd: "Crowd", asked: int, *, completed: bool) -> None:
    events = stored.events(crowd.run)
    assert [event.seq for event in events] == list(range(1, len(events) + 1)), "I1"
    terminal = [event.seq for event in events if event.type in TERMINAL]
    assert terminal == [len(events)], "I4"
    run = stored.run(crowd.run)
    assert asked <= run["attempt"], "I5"
    whole = expected_text(crowd.seed, crowd.chunks)
    for client in crowd.clients:
        assert client.stalls == 0, "a socket was open and silent"
        client.check(stored)  # I3: its text is the message's, and the log's
        assert client.view is not None
        assert client.view.seq == len(events), "I8"
        assert whole.startswith(client.view.text), "I2"
    if completed:
        assert run["status"] == "completed", (run, events[-1])
        assert stored.message_text(crowd.run) == whole, "I2"
