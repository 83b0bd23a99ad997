"""Keys the log by eight bytes instead of the run's UUID. What is in the log is copied: a run may be read from it still."""

from typing import Any

import django.db.models.deletion
from django.db import migrations, models

import chat.models.ids

BATCH = 1000
COPY = """
    INSERT INTO chat_logevent (run_id, seq, type, data)
    SELECT r.log_id, e.seq, e.type, e.data FROM chat_runevent e JOIN chat_run r ON r.id = e.run_id
"""


def number_runs(apps: Any, _editor: Any) -> None:
    runs = apps.get_model("chat", "Run").objects
    while found := list(runs.filter(log_id=None)[:BATCH]):
        for run in found:
            run.log_id = chat.models.ids.new_log_id()
        runs.bulk_update(found, ["log_id"])


class Migration(migrations.Migration):
    dependencies = [("chat", "0001_initial")]

    operations = [
        migrations.AddField("run", "log_id", models.BigIntegerField(null=True)),
        migrations.RunPython(number_runs, migrations.RunPython.noop),
        migrations.AlterField(
            "run",
            "log_id",
            models.BigIntegerField(
                default=chat.models.ids.new_log_id, editable=False, help_text="Its key in the log.", unique=True
            ),
        ),
        migrations.CreateModel(
            name="LogEvent",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "run_id", "seq", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("seq", models.PositiveIntegerField()),
                ("type", models.CharField(max_length=32)),
                ("data", models.TextField(help_text="A JSON object: the event's own fields.")),
                (
                    "run",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="events",
                        to="chat.run",
                        to_field="log_id",
                    ),
                ),
            ],
            options={"verbose_name": "run event"},
        ),
        migrations.RunSQL(COPY, migrations.RunSQL.noop),
        migrations.DeleteModel("RunEvent"),
        migrations.RenameModel("LogEvent", "RunEvent"),
    ]
