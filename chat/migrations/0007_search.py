"""The index that chat sessions are searched by, and what an import knows its chat sessions by."""

from typing import Any

from django.conf import settings
from django.db import migrations, models
from django.db.models import Q

from chat.models import search_index


def create(_apps: Any, editor: Any) -> None:
    search_index.create(editor.connection)


def drop(_apps: Any, editor: Any) -> None:
    search_index.drop(editor.connection)


class Migration(migrations.Migration):
    dependencies = [("chat", "0006_api_tokens"), migrations.swappable_dependency(settings.AUTH_USER_MODEL)]

    operations = [
        migrations.AddField(
            "chatsession",
            "import_key",
            models.CharField(
                blank=True, editable=False, help_text="What it was imported from, hashed.", max_length=64, null=True
            ),
        ),
        migrations.AddConstraint(
            "chatsession",
            models.UniqueConstraint(
                fields=["owner", "import_key"],
                condition=Q(import_key__isnull=False),
                name="chatsession_import_of_owner",
            ),
        ),
        migrations.AddConstraint(
            "chatsession",
            models.UniqueConstraint(
                fields=["guest", "import_key"],
                condition=Q(import_key__isnull=False) & ~Q(guest=""),
                name="chatsession_import_of_guest",
            ),
        ),
        migrations.RunPython(create, drop),
    ]
