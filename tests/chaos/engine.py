"""The long forms of the engine's tests: joins of snapshot and live tail, stops that race the end, random lives of runs.

Outside of pytest, on a database of its own in a temporary folder.
"""

import asyncio
import os
import time
import traceback
from collections.abc import Awaitable, Callable

import tests.environment  # noqa: F401  before the settings are read

Row = tuple[str, int, int, float]  # what was tried, how often, how often it held, seconds

JOINS = 10_000
STOPS = 1_000
LIVES = 5_000


def run(joins: int = JOINS, stops: int = STOPS, lives: int = LIVES) -> list[Row]:
    prepare()
    from tests.runs import scenes

    return [
        _scene("joins of snapshot and live tail at 1,000 chunks/s", scenes.joins, joins),
        _scene("stops that race the end of the run", scenes.stop_races, stops),
        _lives(lives),
    ]


def prepare() -> None:
    """Django with a fresh database, and nothing that slows repetitions down: no titles, no limits, a quick tick."""
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    import logging

    from django.conf import settings
    from django.core.management import call_command

    from chat.runs import duties

    logging.getLogger("chat").setLevel(logging.ERROR)
    settings.CHAT_AUTO_TITLE = False
    settings.CHAT_PROMPTS_PER_MINUTE = settings.CHAT_RUNS_PER_USER = 1_000_000
    duties.TICK = 0.05
    call_command("migrate", verbosity=0)


def _scene(name: str, play: Callable[..., Awaitable[tuple[int, int]]], wanted: int) -> Row:
    from django.contrib.auth.models import User

    from chat.runs.engine import Engine
    from chat.runs.owner import Owner
    from tests.fakes import ScriptedProvider

    owner = Owner(user=User.objects.get_or_create(username="alice")[0].pk)

    async def scene() -> tuple[int, int]:
        provider = ScriptedProvider()
        engine = Engine(provider)
        await engine.open()
        try:
            return await play(engine, owner, provider, wanted)
        finally:
            await engine.close()

    begun = time.monotonic()
    try:
        tried, survived = asyncio.run(scene())
    except AssertionError:
        traceback.print_exc()
        tried, survived = wanted, 0
    return name, tried, survived, time.monotonic() - begun


def _lives(wanted: int) -> Row:
    from hypothesis import HealthCheck, settings
    from hypothesis.stateful import run_state_machine_as_test

    from tests.runs.machine import ChatMachine

    begun = time.monotonic()
    before = ChatMachine.sequences
    failed = 0
    plan = settings(
        max_examples=wanted,
        stateful_step_count=20,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(ChatMachine, settings=plan)
    except Exception:
        traceback.print_exc()
        failed = 1
    held = ChatMachine.sequences - before
    return "random lives of runs against the model", held + failed, held, time.monotonic() - begun
