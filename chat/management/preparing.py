"""What `serve` does to the database before it serves: reach it, migrate it, make the first admin."""

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError, InterfaceError, connection
from django.db.migrations.executor import MigrationExecutor

CONNECT_SECONDS = 5
# Any number that nobody else locks in this database.
PREPARING = 0x746F6B656E776972


def check_database() -> None:
    """Reaches the database with one plain connection: a pool would retry for long and log every try."""
    try:
        if connection.vendor == "sqlite":
            connection.ensure_connection()
            return
        parameters = {**connection.get_connection_params(), "connect_timeout": CONNECT_SECONDS}
        parameters.pop("pool", None)
        with connection.wrap_database_errors:
            connection.Database.connect(**parameters).close()  # type: ignore[attr-defined]
    except DatabaseError as error:
        raise CommandError(describe(error)) from error


def describe(error: DatabaseError) -> str:
    cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    parts = connection.settings_dict
    if connection.vendor == "sqlite":
        file = Path(str(parts["NAME"]))
        return f"The database file {file} cannot be used: {cause}. Is the folder {file.parent} there and writable?"
    place = f"{parts['HOST'] or 'the local socket'}:{parts['PORT'] or 'default port'}/{parts['NAME']}"
    return f"The database at {place} does not answer: {cause}. Check DATABASE_URL."


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Processes that start together on one database prepare it in turn, and all but the first find it done.

    SQLite's one machine has one process, which has taken its port before.
    """
    if connection.vendor != "postgresql":
        yield
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [PREPARING])
    except DatabaseError as error:
        raise CommandError(describe(error)) from error
    try:
        yield
    finally:
        # Not by closing, which gives the connection back to the pool with what it holds. A broken one holds nothing.
        with contextlib.suppress(DatabaseError, InterfaceError), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [PREPARING])


def migrate() -> int:
    """Applies what is missing and returns how many migrations that were; reading the plan alone takes milliseconds."""
    try:
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        if plan:
            call_command("migrate", verbosity=0, interactive=False)
    except DatabaseError as error:
        raise CommandError(describe(error)) from error
    return len(plan)


def first_admin() -> tuple[str, str] | None:
    """Makes a superuser with a random password if there is none; the password is kept nowhere but in the answer."""
    users = get_user_model()._default_manager
    if users.filter(is_superuser=True).exists():
        return None
    # Somebody may have signed up as "admin"; that account must not become the administrator's.
    names = ["admin", *(f"admin{number}" for number in range(2, 100))]
    taken = set(users.filter(username__in=names).values_list("username", flat=True))
    name = next(name for name in names if name not in taken)
    password = secrets.token_urlsafe(12)
    users.create_superuser(username=name, email="", password=password)
    return name, password
