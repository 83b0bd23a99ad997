import shutil
import sqlite3
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import connection

from chat.eventlog.checkpoint import checkpoint


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "sqlite", reason="only SQLite has a write-ahead log of its own to move")
def test_what_was_committed_is_moved_into_the_database_file(tmp_path: Path) -> None:
    User.objects.create_user("moved")
    checkpoint()
    copy = shutil.copy(str(connection.settings_dict["NAME"]), tmp_path / "without-its-log.sqlite3")
    with sqlite3.connect(copy) as alone:
        assert alone.execute("SELECT username FROM auth_user").fetchall() == [("moved",)]
    alone.close()
