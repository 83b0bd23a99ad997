"""The index that chat sessions are searched by, and what an import knows its chat sessions by.

What is there is indexed in many short transactions: a deployment goes on writing meanwhile. So this is no transaction,
and may be run again after it was broken off.
"""

from typing import Any

from django.conf import settings
from django.db import migrations, models, transaction
from django.db.models import Q

from chat.models import search_index

# Spelled out, where Django would not look whether they are there.
COLUMNS = [
    "ALTER TABLE chat_chatsession ADD COLUMN import_key varchar(64) NULL",
    "ALTER TABLE chat_chatsession ADD COLUMN import_digest varchar(64) NULL",
    (
        "CREATE UNIQUE INDEX chatsession_import_of_owner ON chat_chatsession (owner_id, import_key) "
        "WHERE import_key IS NOT NULL"
    ),
    (
        "CREATE UNIQUE INDEX chatsession_import_of_guest ON chat_chatsession (guest, import_key) "
        "WHERE import_key IS NOT NULL AND NOT (guest = '')"
    ),
]
NO_COLUMNS = [
    "DROP INDEX chatsession_import_of_owner",
    "DROP INDEX chatsession_import_of_guest",
    "ALTER TABLE chat_chatsession DROP COLUMN import_key",
    "ALTER TABLE chat_chatsession DROP COLUMN import_digest",
]


def create(_apps: Any, editor: Any) -> None:
    connection = editor.connection
    with connection.cursor() as cursor:
        columns = connection.introspection.get_table_description(cursor, "chat_chatsession")
        if any(column.name == "import_key" for column in columns):
            return
        with transaction.atomic(using=connection.alias):
            for statement in COLUMNS:
                cursor.execute(statement)
            search_index.create(connection)


def drop(_apps: Any, editor: Any) -> None:
    with transaction.atomic(using=editor.connection.alias), editor.connection.cursor() as cursor:
        search_index.drop(editor.connection)
        for statement in NO_COLUMNS:
            cursor.execute(statement)


def fill(_apps: Any, editor: Any) -> None:
    search_index.fill(editor.connection)


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("chat", "0006_api_tokens"), migrations.swappable_dependency(settings.AUTH_USER_MODEL)]

    operations = [
        migrations.SeparateDatabaseAndState(
            [migrations.RunPython(create, drop)],
            [
                migrations.AddField(
                    "chatsession",
                    "import_key",
                    models.CharField(
                        blank=True,
                        editable=False,
                        help_text="What it was imported from, hashed.",
                        max_length=64,
                        null=True,
                    ),
                ),
                migrations.AddField(
                    "chatsession",
                    "import_digest",
                    models.CharField(
                        blank=True, editable=False, help_text="What was in it, hashed.", max_length=64, null=True
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
            ],
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
