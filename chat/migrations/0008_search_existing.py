"""Indexes what is there, in many short transactions: a deployment goes on writing meanwhile. It may be run again."""

from typing import Any

from django.db import migrations

from chat.models import search_index


def fill(_apps: Any, editor: Any) -> None:
    search_index.fill(editor.connection)


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("chat", "0007_search")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
