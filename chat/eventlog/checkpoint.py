from django.db import connection


def checkpoint() -> None:
    """Move what SQLite's write-ahead log holds into the database file, beside the writer and without stopping it.

    Left to itself SQLite does it in the middle of a commit, every few seconds under load, and each time the streams
    wait for the disk. Its own threshold (settings.py) is set far higher and catches what this cannot.
    """
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(PASSIVE)")
