"""`manage.py ask "prompt"`: one prompt from the terminal, the answer streamed to stdout."""

import asyncio
import logging
import os
import signal
import sys
from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, ProgrammingError

from chat.protocol import codec, events, frames
from chat.protocol.errors import ChatError
from chat.protocol.frames import Snapshot
from chat.protocol.operations import PromptSend
from chat.runs import process
from chat.runs.engine import Engine
from chat.runs.follow import Follower
from chat.runs.owner import Owner

INTERRUPTED = 130


class Command(BaseCommand):
    help = (
        "Send a prompt and stream the answer to stdout. Errors go to stderr; Ctrl-C stops the run and keeps its text."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("prompt", nargs="?", default="-", help="the prompt; - or nothing: read it from stdin")
        parser.add_argument("--model", help="a model's id; default: the first of CHAT_MODELS")
        parser.add_argument("--session", type=UUID, help="go on in this chat session")
        parser.add_argument("--user", help="whose chat session it is; default: the first admin, else a guest")
        parser.add_argument("--json", action="store_true", help="print the frames, one JSON object a line")

    def handle(self, *_: Any, prompt: str, model: str, session: UUID | None, user: str | None, **options: Any) -> None:
        # What goes wrong is told below, in one line; as log lines it would be there twice.
        logging.getLogger("chat").setLevel(logging.CRITICAL)
        text = sys.stdin.read() if prompt == "-" else prompt
        asked = PromptSend(text=text, session=session, model=model)
        try:
            codec.check_prompt(text, settings.CHAT_PROMPT_CHARS)
            code = asyncio.run(_ask(_owner(user), asked, as_json=options["json"]))
        except ChatError as error:
            raise CommandError(error.message) from None
        except (OperationalError, ProgrammingError) as error:
            raise CommandError(f"The database cannot be used ({error}). Does it need `manage.py migrate`?") from None
        except BrokenPipeError:
            # Whoever read us has gone (`| head`). Python would complain when it flushes stdout at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 1
        if code:
            sys.exit(code)


def _owner(name: str | None) -> Owner:
    users = get_user_model().objects.filter(is_active=True)
    found = users.filter(username=name).first() if name else users.filter(is_superuser=True).order_by("pk").first()
    if name and found is None:
        raise CommandError(f"There is no active user {name!r}. `manage.py createsuperuser` makes one.")
    return Owner(user=found.pk) if found else Owner(guest="terminal")


async def _ask(owner: Owner, asked: PromptSend, *, as_json: bool) -> int:
    # Its own runs only: what other processes left behind is the server's to take over.
    engine = Engine(process.provider(), worker=False)
    await engine.open()
    interrupted = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupted.set)
    try:
        accepted = await engine.start(owner, asked)
        follower = await engine.follow(owner, accepted.run)
        stopping = asyncio.create_task(_stop_when(interrupted, engine, owner, accepted.run))
        if as_json:
            _print_line(frames.encode(accepted.frame(None)))
        try:
            code = await (_print_frames if as_json else _print_text)(follower)
        except BrokenPipeError:
            await engine.stop(owner, accepted.run)
            raise
        stopping.cancel()
        if sys.stderr.isatty() and not as_json:
            print(f"\nGo on with --session {accepted.session}", file=sys.stderr)
        return code
    finally:
        await engine.close()


async def _stop_when(interrupted: asyncio.Event, engine: Engine, owner: Owner, run: UUID) -> None:
    await interrupted.wait()
    await engine.stop(owner, run)


async def _print_frames(follower: Follower) -> int:
    last = ""
    async for batch in follower:
        if isinstance(batch, Snapshot):
            _print_line(frames.encode(batch))
            continue
        for event in batch:
            _print_line(events.frame(follower.key, event))
            last = event.type
    return _exit_code(last)


async def _print_text(follower: Follower) -> int:
    last = events.Event(0, "", "{}")
    async for batch in follower:
        for last in batch if isinstance(batch, list) else ():
            if last.type == "text.delta":
                sys.stdout.write(events.decode_delta(last.data).text)
                sys.stdout.flush()
            elif last.type == "run.restarted":
                print("\n[The answer begins anew: its first attempt was lost.]", file=sys.stderr)
    print(flush=True)
    if last.type == "run.failed" and (error := events.decode_ended(last.data).error):
        print(f"{error.message} ({error.code})", file=sys.stderr)
    elif last.type == "run.stopped":
        print("Stopped; what was written is kept.", file=sys.stderr)
    return _exit_code(last.type)


def _exit_code(terminal: str) -> int:
    return {"run.completed": 0, "run.stopped": INTERRUPTED}.get(terminal, 1)


def _print_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
