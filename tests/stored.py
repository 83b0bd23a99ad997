"""Looks into the server's database file from outside, as an auditor would: plain SQL, read-only."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

LOG_ID = "SELECT log_id FROM chat_run WHERE id = ?"


class StoredEvent(NamedTuple):
    seq: int
    type: str
    data: dict[str, Any]


class Stored:
    def __init__(self, database: Path) -> None:
        self.database = database

    def rows(self, sql: str, *params: object) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=20)) as connection:
            return connection.execute(sql, params).fetchall()

    def value(self, sql: str, *params: object) -> Any:
        return self.rows(sql, *params)[0][0]

    def change(self, sql: str, *params: object) -> int:
        """As another process would, past every signal of Django."""
        with closing(sqlite3.connect(self.database, timeout=20)) as connection, connection:
            return connection.execute(sql, params).rowcount

    def events(self, run: str) -> list[StoredEvent]:
        rows = self.rows(f"SELECT seq, type, data FROM chat_runevent WHERE run_id = ({LOG_ID}) ORDER BY seq", key(run))
        return [StoredEvent(seq, type_, json.loads(data)) for seq, type_, data in rows]

    def run(self, run: str) -> dict[str, Any]:
        names = ("status", "attempt", "epoch", "ended", "message_id", "error_code")
        row = self.rows(f"SELECT {', '.join(names)} FROM chat_run WHERE id = ?", key(run))[0]
        return dict(zip(names, row, strict=True))

    def message_text(self, run: str) -> str:
        return str(self.value("SELECT text FROM chat_message WHERE id = ?", self.run(run)["message_id"]))

    def parts_at(self, run: str, seq: int) -> list[dict[str, str]]:
        """The run's parts as of `seq`, folded from the log by other code than the server's."""
        parts: list[dict[str, str]] = []
        for event in self.events(run)[:seq]:
            if event.type.endswith(".delta"):
                if event.data["part"] == len(parts):
                    parts.append({"type": event.type.removesuffix(".delta"), "text": ""})
                parts[event.data["part"]]["text"] += event.data["text"]
            elif event.type == "run.restarted":
                parts = [dict(part) for part in event.data["parts"]]
        return parts

    def log_text(self, run: str) -> str:
        parts = self.parts_at(run, len(self.events(run)))
        return "".join(part["text"] for part in parts if part["type"] == "text")

    def unended(self) -> int:
        return int(self.value("SELECT count(*) FROM chat_run WHERE ended IS NULL"))

    def sound(self) -> bool:
        return bool(self.value("PRAGMA integrity_check") == "ok")

    def counts(self) -> dict[str, int]:
        tables = ("chat_chatsession", "chat_message", "chat_run", "chat_runevent")
        return {table: int(self.value(f"SELECT count(*) FROM {table}")) for table in tables}


def key(id_: str) -> str:
    return id_.replace("-", "")
