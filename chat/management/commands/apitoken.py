"""`manage.py apitoken NAME`: makes an API token for a user and prints it, for scripts and first steps."""

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from chat.management import preparing
from chat.models import ApiToken
from chat.protocol.errors import ChatError
from chat.runs import api_tokens
from chat.runs.owner import Owner


class Command(BaseCommand):
    help = "Makes an API token and prints it to stdout: it cannot be shown again. The admin revokes it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username", help="whose chat sessions it opens")
        parser.add_argument("--name", default="made with manage.py", help="what it is for")
        parser.add_argument("--scope", choices=ApiToken.Scope.values, default=ApiToken.Scope.WRITE)
        parser.add_argument("--days", type=int, help="until it expires; left out: never")

    def handle(self, *_: Any, username: str, name: str, scope: str, days: int | None, **options: Any) -> None:
        if days is not None and not 1 <= days <= api_tokens.MOST_DAYS:
            raise CommandError(f"--days {days} is not valid: give 1 to {api_tokens.MOST_DAYS}.")
        if not 1 <= len(name) <= api_tokens.NAME_CHARS:
            raise CommandError(f"A name has 1 to {api_tokens.NAME_CHARS} characters.")
        preparing.check_database()
        user = get_user_model().objects.filter(username=username, is_active=True).first()
        if user is None:
            raise CommandError(f"There is no active user {username!r}. The admin shows them all.")
        try:
            secret = api_tokens.create(Owner(user=user.pk), name, scope, days)[1]
        except ChatError as error:
            raise CommandError(error.message) from error
        self.stdout.write(secret)
