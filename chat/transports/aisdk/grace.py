"""Ends runs that nobody reads any more. `stop()` of every `useChat` only drops its connection, as a reload does.

The process that lost a run's last reader waits CHAT_AISDK_GRACE seconds, and as long again while anybody follows the
run: a socket or stream of any kind, here or (as Redis tells) in another process. If it cannot find out, or ends itself
meanwhile, the run goes on to its own end.
"""

import asyncio
import logging
from functools import lru_cache
from uuid import UUID

from django.conf import settings

from chat.models import Run
from chat.protocol.errors import ChatError
from chat.runs.engine import Engine

log = logging.getLogger(__name__)


class Grace:
    """Of one engine, on its event loop: the runs that are read through /api/chat in this process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._readers: dict[UUID, int] = {}
        self._waiting: dict[UUID, asyncio.Task[None]] = {}

    def join(self, run: UUID) -> None:
        self._readers[run] = self._readers.get(run, 0) + 1
        if waiting := self._waiting.pop(run, None):
            waiting.cancel()

    def leave(self, run: UUID, *, ended: bool = False) -> None:
        """`ended`: the reader has seen the run's end."""
        self._readers[run] -= 1
        if self._readers[run]:
            return
        del self._readers[run]
        if not ended and not self._engine.closing:
            self._waiting[run] = self._engine.spawn(self._wait(run))

    def left(self, run: UUID) -> bool:
        """It had readers here, and has none."""
        return run in self._waiting

    async def _wait(self, run: UUID) -> None:
        try:
            while True:
                await asyncio.sleep(settings.CHAT_AISDK_GRACE)
                if await self._is_over(run):
                    return
        finally:
            if self._waiting.get(run) is asyncio.current_task():
                del self._waiting[run]

    async def _is_over(self, run: UUID) -> bool:
        try:
            if await self._engine.read(_has_ended, run):
                return True
            if await self._engine.bus.is_followed(str(run)) is not False:
                return False
            log.info("run %s is stopped: nobody has read it for %g s", run, settings.CHAT_AISDK_GRACE)
            await self._engine.stop(None, run)
        except ChatError:
            return False  # the database does not answer: look again
        except Run.DoesNotExist:
            pass  # deleted just now
        return True


def _has_ended(run: UUID) -> bool:
    return not Run.objects.filter(id=run, ended=None).exists()


@lru_cache(maxsize=1)
def grace_of(engine: Engine) -> Grace:
    """A process has one engine."""
    return Grace(engine)
