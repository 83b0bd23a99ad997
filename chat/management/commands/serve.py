"""`manage.py serve`: from a clone to a served page in one step; what `make run` calls."""

import os
import sys
from argparse import ArgumentParser
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connections
from django.urls import reverse
from django.utils.module_loading import import_string

from chat.management import preparing, serving

FLAGS = ("host", "port", "server")


class Command(BaseCommand):
    help = "Prepares the database and serves the page, the admin and the WebSocket."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", help="address to listen on (HOST, 127.0.0.1)")
        parser.add_argument("--port", type=int, help="port to listen on (PORT, 8000)")
        parser.add_argument("--server", help="daphne or uvicorn (SERVER, daphne)")
        parser.add_argument("--prepare", action="store_true", help="only prepare the database, as `make dev` does")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["prepare"]:
            self.prepare()
            return
        restart_with_flags({name.upper(): str(options[name]) for name in FLAGS if options[name] is not None})
        serving.stop_on_signals()
        try:
            self.serve(settings.HOST, settings.PORT, os.environ.get("SERVER") or "daphne")
        except KeyboardInterrupt:
            pass
        finally:
            connections.close_all()
        self.stdout.write("Stopped.")

    def serve(self, host: str, port: int, server: str) -> None:
        if server not in serving.SERVERS:
            raise CommandError(f"SERVER={server} is unknown: use {' or '.join(serving.SERVERS)}.")
        with serving.bind(host, port) as listener:
            self.prepare()
            application = import_string(settings.ASGI_APPLICATION)
            serving.listen(listener, host, port)
            self.announce(host, port, server)
            serving.SERVERS[server](listener, application)

    def prepare(self) -> None:
        preparing.check_database()
        with preparing.one_at_a_time():
            applied, admin = preparing.migrate(), preparing.first_admin()
        if applied:
            self.stdout.write(f"Database: {applied} migrations applied")
        if admin:
            name, password = admin
            self.stdout.write(boxed(["First admin, shown only once", "", f"user      {name}", f"password  {password}"]))
        # The servers' threads open their own; this thread's connection would stay open unused.
        connections.close_all()

    def announce(self, host: str, port: int, server: str) -> None:
        place = f"{serving.browser_host(host)}:{port}"
        self.stdout.write(f"Page       http://{place}{reverse('chat')}")
        self.stdout.write(f"Admin      http://{place}{reverse('admin:index')}")
        self.stdout.write(f"WebSocket  ws://{place}/ws/chat/")
        self.stdout.write(f"Model      {model_source()}")
        if not has_front_end():
            self.stdout.write("Answers    shown as plain text: packages of npm are missing, get them with `make run`")
        if not serving.is_loopback(host):
            self.stdout.write("Reachable from other machines. A name or address they use must be listed in both:")
            self.stdout.write(f"  ALLOWED_HOSTS    now {', '.join(settings.ALLOWED_HOSTS)}")
            self.stdout.write(f"  ALLOWED_ORIGINS  now {', '.join(settings.ALLOWED_ORIGINS)}")
        self.stdout.write(f"Served by {server}; Ctrl-C ends it.")
        self.stdout.flush()


def restart_with_flags(wanted: dict[str, str]) -> None:
    """Turns flags into environment and starts over: the settings derive ALLOWED_ORIGINS from HOST and PORT."""
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **wanted})  # noqa: S606


def has_front_end() -> bool:
    served = {entry[0] for entry in settings.STATICFILES_DIRS if isinstance(entry, tuple)}
    return {f"vendor/{name}" for name in settings.FRONT_END} <= served


def model_source() -> str:
    if not settings.OPENAI_API_KEY and not settings.OPENAI_BASE_URL:
        return "offline demo (set OPENAI_API_KEY or OPENAI_BASE_URL for real answers)"
    models = ", ".join(settings.CHAT_MODELS) or "the server's own list"
    # netloc without user and password: the line may end up in a log.
    return f"{models} from {urlsplit(settings.OPENAI_BASE_URL).netloc.rpartition('@')[2] or 'OpenAI'}"


def boxed(lines: list[str]) -> str:
    width = max(len(line) for line in lines)
    edge = "+" + "-" * (width + 4) + "+"
    return "\n".join([edge, *(f"|  {line:<{width}}  |" for line in lines), edge])
