"""`manage.py chatworker`: executes the runs that the web processes queue. Start as many as it takes."""

import asyncio
import logging
import signal
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import uvloop
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from chat.management import preparing
from chat.runs import process
from chat.runs.engine import Engine
from chat.transports import desk
from chat.transports.lifespan import settle_memory

log = logging.getLogger(__name__)

ENDS_ON = (signal.SIGTERM, signal.SIGINT)
BEAT_SECONDS = 1.0


class Command(BaseCommand):
    help = "Executes queued runs, those of dead workers included. SIGTERM: finishes, or hands over, what it has."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--concurrency", type=int, default=settings.CHAT_WORKER_RUNS, help="runs at once (CHAT_WORKER_RUNS)"
        )
        parser.add_argument(
            "--beat", type=Path, metavar="FILE", help="touch this file once a second, for scripts/health.py"
        )

    def handle(self, *_: Any, concurrency: int, beat: Path | None, **options: Any) -> None:
        if concurrency < 1:
            raise CommandError(f"--concurrency={concurrency} lets nothing run: give 1 or more.")
        preparing.check_database()
        uvloop.run(self.work(concurrency, beat))

    async def work(self, concurrency: int, beat: Path | None) -> None:
        told = asyncio.Queue[signal.Signals]()
        for number in ENDS_ON:
            asyncio.get_running_loop().add_signal_handler(number, told.put_nowait, number)
        beating = asyncio.create_task(beat_for_ever(beat)) if beat is not None else None
        starting, ending = asyncio.ensure_future(start(concurrency)), asyncio.ensure_future(told.get())
        try:
            # Told to end while it still starts, which takes seconds without Redis, it need not start first.
            await asyncio.wait({starting, ending}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                engine = await starting
                self.say(f"Worker {engine.name} executes up to {concurrency} runs; Ctrl-C ends it.")
                await ending
                self.say(f"Ending: {len(engine.generations)} runs have {settings.CHAT_DRAIN_SECONDS:g} s to finish.")
                await drained(engine, told)
        finally:
            starting.cancel()
            ending.cancel()
            die_of_the_next_signal()
            await desk.close_desk()  # gives back what was claimed
            if beating is not None:
                beating.cancel()
        self.say("Stopped.")

    def say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


async def beat_for_ever(file: Path) -> None:
    """Tells from outside a worker whose event loop turns from one that hangs."""
    while True:
        try:
            file.touch()  # noqa: ASYNC240 - microseconds
        except OSError as error:
            log.warning("no beat: %s", error)
        await asyncio.sleep(BEAT_SECONDS)


async def start(concurrency: int) -> Engine:
    engine = await process.engine(runs=concurrency)
    await desk.start_desk()
    settle_memory()
    return engine


async def drained(engine: Engine, told: "asyncio.Queue[signal.Signals]") -> None:
    """Until all runs ended or the time is over; a second signal hands them over at once."""
    waiting = {
        asyncio.ensure_future(engine.drain(settings.CHAT_DRAIN_SECONDS)),
        asyncio.ensure_future(told.get()),
    }
    _, rest = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()


def die_of_the_next_signal() -> None:
    """Handing over may hang with the database. Whoever does not want to wait loses nothing: the leases run out."""
    for number in ENDS_ON:
        asyncio.get_running_loop().remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)  # for SIGINT the loop would leave Python's KeyboardInterrupt
