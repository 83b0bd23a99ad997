"""What a process does for the runs of all, at every tick and whenever it is told: renews its leases, claims runs that
wait, and looks at the logs of runs that are followed here and executed elsewhere.
"""

import asyncio
import logging
import math
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import DatabaseError, InterfaceError

from chat.eventlog import log as eventlog
from chat.eventlog.checkpoint import checkpoint
from chat.models.outage import is_locked, tell
from chat.runs import claim as claims
from chat.runs import fair
from chat.runs.claim import Claim
from chat.runs.finish import Ending

if TYPE_CHECKING:
    from chat.runs.engine import Engine

log = logging.getLogger(__name__)

# With no notice and no hint, two lie between a prompt and its first token: until it is claimed, and until it is read.
TICK = 0.5
RENEW_TICKS = 2  # leases are renewed once in so many
# After an outage every process may renew its leases, before any takes over those that ran out in it.
RENEWAL_SECONDS = 3.0


class Duties:
    def __init__(self, engine: "Engine") -> None:
        self.engine = engine
        self.claiming = asyncio.Lock()
        self.unsure = False  # a claim failed, and it is not known whether before or after its commit
        self._wants_work = False
        self._to_look: set[UUID] = set()
        self._outage = -math.inf  # when the database last did not answer

    async def tick_for_ever(self) -> None:
        turn = 0
        while True:
            begun = time.monotonic()
            try:
                renews = turn % RENEW_TICKS == 0
                if renews:
                    # First, and again after an error: what could not be renewed must not be taken over from ourselves.
                    await self._renew()
                await self.claim()
                await self._poll()
                if renews:
                    await self.engine.readers.call(checkpoint)
                turn += 1
            except (DatabaseError, InterfaceError) as error:
                if not is_locked(error):
                    self._outage = time.monotonic()
                tell(log, "leases cannot be renewed nor runs looked for", error)
            except Exception:
                log.exception("the engine's tick failed")
            await asyncio.sleep(max(0.05, TICK - (time.monotonic() - begun)))

    # Leases ---------------------------------------------------------------------------------------------------------

    async def _renew(self) -> None:
        generations = self.engine.generations
        held = {run: generation.claim.epoch for run, generation in generations.items()}
        if not held:
            return
        begun = time.monotonic()
        stops, lost = await self.engine.writer.call(claims.renew, self.engine.name, held)
        if time.monotonic() - begun > RENEWAL_SECONDS:
            self._outage = time.monotonic()  # it waited behind the log, which could not be written
        for run, generation in list(generations.items()):
            if generation.claim.epoch != held.get(run):
                continue
            if run in stops:
                generation.interrupt("stop")
            elif run in lost:
                generation.interrupt("fenced")

    # Claims ---------------------------------------------------------------------------------------------------------

    async def claim(self) -> None:
        """Execute what waits, as far as there is room, and end what was stopped with nobody left to end it."""
        if time.monotonic() - self._outage < RENEWAL_SECONDS:
            return
        engine = self.engine
        async with self.claiming:
            await self._give_back_unknown()
            room = max(0, engine.capacity - len(engine.generations)) if engine.worker else 0
            # Whoever cannot execute can still end what was stopped.
            if not await engine.readers.call(claims.any_waiting if room else claims.any_stopped):
                return
            claimed, endings = await self._claim_waiting(room)
            for claim in claimed:
                engine.execute(claim)
            for ending in endings:
                engine.publish(ending)

    async def _claim_waiting(self, room: int) -> tuple[list[Claim], list[Ending]]:
        engine = self.engine
        try:
            return await engine.writer.call(claims.claim_waiting, engine.name, room, fair.reserve(engine.capacity))
        except (DatabaseError, InterfaceError):
            self.unsure = True
            raise

    async def _give_back_unknown(self) -> None:
        """Runs that are ours by the database and not by what we know, as the reply to a commit was lost."""
        if self.unsure and not self.engine.starting:  # what is just being begun is not known to us yet
            await self.engine.writer.call(claims.release, self.engine.name, list(self.engine.generations))
            self.unsure = False

    def want_work(self) -> None:
        """Claim at once: a run was queued, or there is room again."""
        if self.engine.worker and not self.engine.closing and not self._wants_work:
            self._wants_work = True
            self.engine.spawn(self._claim_now())

    async def _claim_now(self) -> None:
        try:
            async with self.claiming:
                self._wants_work = False  # what is queued from now on may be missed by this turn
            await self.claim()
        except (DatabaseError, InterfaceError) as error:
            tell(log, "runs cannot be claimed", error)

    # Runs that are executed elsewhere -------------------------------------------------------------------------------

    async def _poll(self) -> None:
        """The log says how far they are, should every hint be lost."""
        await self._look_at(UUID(key) for key in self.engine.bus.followed)

    async def _look_at(self, runs: Iterable[UUID]) -> None:
        engine = self.engine
        elsewhere = [run for run in runs if run not in engine.generations]
        tops = await engine.readers.call(eventlog.tops, elsewhere) if elsewhere else {}
        for run, top in tops.items():
            if top is None:
                engine.bus.end(str(run))  # deleted with its chat session
            else:
                engine.bus.reach(str(run), top)

    def look(self, run: str) -> None:
        """As `_poll` does, at once; runs that are to be looked at in one turn of the loop are asked for together."""
        if self.engine.closing:
            return
        self._to_look.add(UUID(run))
        if len(self._to_look) == 1:
            self.engine.spawn(self._look_at_joined())

    async def _look_at_joined(self) -> None:
        await asyncio.sleep(0)
        runs, self._to_look = self._to_look, set()
        try:
            await self._look_at(runs)
        except (DatabaseError, InterfaceError) as error:
            tell(log, "runs cannot be looked at", error)
