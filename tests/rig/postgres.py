import signal
from pathlib import Path
from typing import Any

import psycopg

from tests.rig.service import OwnService, program

MAX_CONNECTIONS = 100


class OwnPostgres(OwnService):
    """A cluster with fsync on, as the promises have it."""

    user = "postgres"

    def __init__(self, **options: str | int) -> None:
        bins = [str(place) for place in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
        self._initdb, self._postgres = program("initdb", *bins), program("postgres", *bins)
        super().__init__()
        self.options: dict[str, str | int] = {"max_connections": MAX_CONNECTIONS, **options}

    @property
    def url(self) -> str:
        return self.url_at(self.port)

    def url_at(self, port: int) -> str:
        """The same database behind another port: a proxy's."""
        return f"postgres://postgres@127.0.0.1:{port}/postgres"

    def prepare(self) -> None:
        self.run(self._initdb, "-D", str(self.folder / "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N")

    def command(self) -> list[str]:
        fixed = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "", "fsync": "on"}
        options = [f"{name}={value}" for name, value in {**fixed, **self.options}.items()]
        return [self._postgres, "-D", str(self.folder / "data"), *(word for each in options for word in ("-c", each))]

    def answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def restart(self) -> None:
        """As an operator does it: "fast", every session is ended and a checkpoint written."""
        self.stop(signal.SIGINT)
        self.start()

    def rows(self, sql: str, *params: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as connection:
            return connection.execute(sql, params).fetchall()

    def execute(self, sql: str) -> None:
        with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as connection:
            connection.execute(sql)

    def terminate_all(self) -> int:
        """Ends every connection but the one that asks; how many."""
        return len(self.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"))

    def connections(self) -> int:
        """Of clients, the asking one not counted."""
        sql = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        return int(self.rows(sql)[0][0])
