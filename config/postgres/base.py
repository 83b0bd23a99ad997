"""The ENGINE of DATABASES. Django finds it by this file's name.

Two kinds of threads ask the database. Those of the engine are few: each keeps a connection of its own (`dedicate`), so
that it never waits behind a burst of requests. All others, the HTTP requests among them, borrow from a pool.
"""

from functools import partial
from typing import Any

import psycopg
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import request_started
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.postgresql import base
from psycopg import IsolationLevel

from config.postgres.connection import Connection, Door, hung_up, limit
from config.postgres.pool import Pool

POOL_PATIENCE_SECONDS = 2.0
# A request waits so long for one answer of the database; a migration waits as long as it takes.
REQUEST_PATIENCE_SECONDS = 10.0

_door = Door()
_pools: dict[str, Pool] = {}


class DatabaseWrapper(base.DatabaseWrapper):
    _limits: dict[str, float] | None = None  # of a dedicated connection
    _patience: float | None = None  # of a borrowed one

    def dedicate(self, *, statement: float, lock: float) -> None:
        """From now on this thread has a connection of its own, with limits in seconds."""
        self._limits = {"statement": statement, "lock": lock}

    def serve_request(self) -> None:
        """This thread answers a request."""
        self._patience = REQUEST_PATIENCE_SECONDS

    def drop_if_hung_up(self) -> None:
        """Before a call: a restart of the server must not cost the first call after it."""
        mine: Any = self.connection
        if mine is not None and not self.in_atomic_block and hung_up(mine):
            self.close()

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        if "isolation_level" in self.settings_dict["OPTIONS"]:
            raise ImproperlyConfigured("DATABASE_URL: isolation_level is always read committed here.")
        self.isolation_level = IsolationLevel.READ_COMMITTED
        if self._limits is not None:
            # So that pg_stat_activity tells them apart.
            name = f"{conn_params.get('application_name', '')} engine"
            return self._connect({**conn_params, "application_name": name.strip()})
        if self.alias == NO_DB_ALIAS:
            return self._connect(conn_params)
        connection = self._shared().take(partial(self._connect, conn_params))
        connection.patience = self._patience
        return connection

    def _connect(self, params: dict[str, Any]) -> Connection:
        connection = _door.connect({**params, "autocommit": True})
        try:
            limit(connection, **self._limits or {})
        except psycopg.Error:
            connection.close()
            raise
        return connection

    def _close(self) -> None:
        mine: Any = self.connection
        if mine is None:
            return
        with self.wrap_database_errors:
            if self._limits is not None or self.alias == NO_DB_ALIAS:
                mine.close()
            else:
                self._shared().give_back(mine)

    def _shared(self) -> Pool:
        # By name: a test database has another one, and connections to the real one must not serve it.
        name = str(self.settings_dict["NAME"])
        return _pools.setdefault(name, Pool(self.settings_dict["POOL"], POOL_PATIENCE_SECONDS))


def _serve_request(**_: Any) -> None:
    mine: Any = connections[DEFAULT_DB_ALIAS]  # of the request's own thread
    mine.serve_request()


request_started.connect(_serve_request, dispatch_uid="config.postgres.serve_request")
