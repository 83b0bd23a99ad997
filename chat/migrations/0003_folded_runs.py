"""Marks the runs whose events were folded. Null, so that no row is rewritten and a version without it goes on beside."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("chat", "0002_integer_log_key")]

    operations = [
        migrations.AddField(
            "run",
            "folded",
            models.BooleanField(
                null=True, help_text="Its message took its events over. No: they are kept, as they say something else."
            ),
        ),
        migrations.AddIndex(
            "run",
            models.Index(
                fields=["ended"], name="run_to_fold", condition=models.Q(("ended__isnull", False), ("folded", None))
            ),
        ),
    ]
