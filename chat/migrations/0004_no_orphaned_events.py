"""On Postgres a run's last events go with its row, by a trigger: what a foreign key would do, without its check.

Events have no foreign key in the database, and Django deletes them before their run. Between the two another process
may append, and those events would stay for ever. An append locks the run's row, so at the moment the row is deleted
all that was appended to it is committed, and nothing can be appended any more. SQLite has one writer: no such moment.
"""

from typing import Any

from django.db import migrations

FORWARDS = """
CREATE FUNCTION chat_delete_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM chat_runevent WHERE run_id = OLD.log_id;
    RETURN NULL;
END $$;
CREATE TRIGGER chat_run_deleted AFTER DELETE ON chat_run FOR EACH ROW EXECUTE FUNCTION chat_delete_events();
"""
BACKWARDS = "DROP TRIGGER chat_run_deleted ON chat_run; DROP FUNCTION chat_delete_events();"


def create(_apps: Any, editor: Any) -> None:
    if editor.connection.vendor == "postgresql":
        editor.execute(FORWARDS)


def drop(_apps: Any, editor: Any) -> None:
    if editor.connection.vendor == "postgresql":
        editor.execute(BACKWARDS)


class Migration(migrations.Migration):
    dependencies = [("chat", "0003_folded_runs")]

    operations = [migrations.RunPython(create, drop)]
