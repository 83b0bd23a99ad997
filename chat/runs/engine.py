"""The engine of one process: its log writer, bus, provider and the runs it executes.

Everything here runs on one event loop. A transport calls `start`, `follow`, `stop` and the few reads beside them.
"""

import asyncio
import contextlib
import contextvars
import itertools
import logging
import os
import secrets
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, InterfaceError

from chat.eventlog import Bus, LogWriter, Readers, retention
from chat.models.ids import new_id
from chat.models.outage import cause, is_locked, is_outage, tell
from chat.protocol.errors import ChatError
from chat.protocol.frames import SessionState
from chat.protocol.operations import PromptSend
from chat.providers.base import ModelInfo, Provider
from chat.runs import claim as claims
from chat.runs import follow, history, indexing, start, stop, title
from chat.runs.claim import Claim
from chat.runs.duties import Duties
from chat.runs.execute import Generation
from chat.runs.finish import Ending
from chat.runs.notices import Notice, RunBegan, RunQueued, SessionNotice, StopRun
from chat.runs.owner import Owner
from chat.runs.start import Accepted, AnyPrompt

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

CARRY_SECONDS = 2.0
# An operation waits so long for a row that somebody else has locked, in tries with pauses between: from, to.
LOCKED_SECONDS = 2.0
LOCKED_PAUSES = 0.03, 0.5

Carrier = Callable[[Sequence[Notice]], Awaitable[None]]


@contextlib.contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except (DatabaseError, InterfaceError) as error:
        if is_outage(error):
            tell(log, "an operation cannot be done", error)
        else:
            log.exception("an operation cannot be done")
        raise ChatError("unavailable", "The database does not answer right now. Try again soon.") from None


class Engine:
    """`worker`: whether it also executes runs of others (queued, or left by a dead process)."""

    def __init__(
        self, provider: Provider, *, worker: bool = True, capacity: int | None = None, bus: Bus | None = None
    ) -> None:
        self.provider = provider
        self.worker = worker
        self.capacity = settings.CHAT_WORKER_RUNS if capacity is None else capacity
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self.bus = bus or Bus()
        self._duties = Duties(self)
        self.bus.joined = self._duties.look
        self.readers = Readers()
        self.writer = LogWriter(self.bus.publish, patience=settings.CHAT_STORAGE_TIMEOUT)
        self.generations: dict[UUID, Generation] = {}
        # Who hears of notices here, and who carries them to the other processes (a transport sets it).
        self.listeners: list[Callable[[Notice], None]] = []
        self.carrier: Carrier | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._titling: set[asyncio.Task[Any]] = set()
        self._launching: deque[Generation] = deque()
        self.starting: set[asyncio.Task[Accepted]] = set()
        self.closing = False
        self._carries = True  # whether the last notice could be sent

    async def open(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.writer.start()
        await self.bus.open()
        self.spawn(self._duties.tick_for_ever())
        self.spawn(self.provider.warm())
        self.spawn(indexing.index_for_ever(self.readers, self.writer))
        if self.worker and settings.CHAT_LOG_HOURS:
            self.spawn(retention.fold_for_ever(self.readers, self.writer, settings.CHAT_LOG_HOURS))

    async def close(self) -> None:
        """Give unfinished runs back to be taken over, then end every task and thread. A second call does nothing."""
        if self.closing:
            return
        self.closing = True
        writing = {generation.task for generation in self.generations.values()}
        for generation in list(self.generations.values()):
            generation.interrupt("shutdown")
        for task in self._tasks - writing:
            task.cancel()
        await asyncio.gather(*self._tasks, *self.starting, return_exceptions=True)
        try:
            if await self.writer.call(claims.release, self.name) and self.carrier is not None:
                await self._carry(self.carrier, [RunQueued()])
        except (DatabaseError, InterfaceError) as error:
            log.warning("runs could not be given back, their leases will run out: %s", cause(error))
        await self.writer.close()
        await self.bus.close()
        await asyncio.get_running_loop().run_in_executor(None, self.readers.close)
        await self.provider.close()

    async def drain(self, seconds: float) -> None:
        """Take no more runs, and let those under way end, with their titles; returns at the latest after `seconds`."""
        self.capacity = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                async with self._duties.claiming:  # what is being claimed right now is waited for as well
                    pass
                await asyncio.gather(*self.starting, return_exceptions=True)
                while self.generations or self._titling:
                    tasks = {each.task for each in self.generations.values() if each.task is not None} | self._titling
                    await (asyncio.wait(tasks) if tasks else asyncio.sleep(0))

    # The verbs ------------------------------------------------------------------------------------------------------

    async def start(self, owner: Owner, asked: AnyPrompt) -> Accepted:
        """Store the prompt and start its run; the same id and body again give the same run. Raises ChatError.

        In a task of its own: a caller that leaves halfway must not leave a run behind that nobody executes.
        """
        starting = asyncio.get_running_loop().create_task(self._start(owner, asked))
        self.starting.add(starting)
        starting.add_done_callback(self.starting.discard)
        return await asyncio.shield(starting)

    async def _start(self, owner: Owner, asked: AnyPrompt) -> Accepted:
        models = await self.models()
        has_room = len(self.generations) < self.capacity and not self.closing
        terms = start.Terms(
            frozenset(model.id for model in models),
            models[0].id if models else "",
            self.name if has_room else None,
            new_id(),
        )
        tries = itertools.count()
        try:
            accepted = await self.write(lambda: start.begin(owner, asked, terms, again=next(tries) > 0))
        except ChatError as error:
            self._duties.unsure |= error.code == "unavailable"
            raise
        executed = accepted.claim is not None and not self.closing
        if accepted.claim is not None and executed:
            self.execute(accepted.claim)
        if not accepted.repeat:
            queued = () if executed else (RunQueued(),)
            self.notify(*queued, *_news(owner, accepted, asked))
        return accepted

    async def follow(self, owner: Owner, run: UUID, after: int = 0, *, queued: bool = False) -> follow.Follower:
        """Events of `run` with seq > `after`, stored ones and then live ones. Raises ChatError.

        `queued`: `start` has just stored it for this owner, so there is nothing to look up.
        """
        follower = follow.Follower(self.bus, self.readers, run)
        if queued:
            return follower.join(0, 0)
        generation = self.generations.get(run)
        if generation is not None and generation.may_follow(owner, after):
            return follower.join(after, generation.lease.stored)
        with _unavailable():
            return await follower.begin(lambda: follow.beginning(owner, run, after))

    async def stop(self, owner: Owner | None, run: UUID) -> None:
        """Have the run stopped; its followers see the terminal event. Raises ChatError."""
        ending = await self.write(stop.request, owner, run)
        if ending is not None:
            self.publish(ending)
        elif run in self.generations:
            self.generations[run].interrupt("stop")
        else:
            self.notify(StopRun(str(run)))

    async def state(self, owner: Owner, session: UUID, before: UUID | None = None) -> SessionState:
        return await self.read(history.state, owner, session, before)

    async def select_branch(self, owner: Owner, session: UUID, message: UUID) -> None:
        leaf = await self.write(history.select, owner, session, message)
        self.notify(SessionNotice(str(session), owner.requester, {"active": leaf}))

    async def models(self) -> list[ModelInfo]:
        return await self.provider.models()

    async def window(self, model: str) -> int:
        for known in await self.models():
            if known.id == model:
                return known.context_tokens
        return int(settings.CHAT_CONTEXT_TOKENS)

    async def read(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Raises ChatError `unavailable` when the database does not answer, and what `function` raises."""
        with _unavailable():
            return await self.readers.call(function, *args, **kwargs)

    async def write(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Once more after an error of the database: of two prompts with one key, the loser finds the winner's run."""
        begun = time.monotonic()
        again, pause = True, LOCKED_PAUSES[0]
        with _unavailable():
            while True:
                try:
                    return await self.writer.beside(function, *args, **kwargs)
                except (DatabaseError, InterfaceError) as error:
                    locked = is_locked(error)
                    if time.monotonic() - begun > LOCKED_SECONDS or not (locked or again):
                        raise
                again = locked
                if locked:
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, LOCKED_PAUSES[1])

    # Notices --------------------------------------------------------------------------------------------------------

    def notify(self, *notices: Notice) -> None:
        """Tell every process: this one at once, the others as soon as the carrier can, or not at all."""
        for notice in notices:
            self.heard(notice)
        if self.carrier is not None:
            self.spawn(self._carry(self.carrier, notices))

    def notify_from_thread(self, notice: Notice) -> None:
        if self.loop is not None:
            self.loop.call_soon_threadsafe(self.notify, notice)

    def heard(self, notice: Notice) -> None:
        if isinstance(notice, StopRun):
            generation = self.generations.get(UUID(notice.run))
            if generation is not None:
                generation.interrupt("stop")
        if isinstance(notice, RunQueued):
            self._duties.want_work()
        for listener in list(self.listeners):
            listener(notice)

    async def _carry(self, carrier: Carrier, notices: Sequence[Notice]) -> None:
        try:
            # A layer that takes connections and answers nothing would collect a task for each notice.
            async with asyncio.timeout(CARRY_SECONDS):
                await carrier(notices)
        except Exception as error:
            if self._carries:  # once, not for every prompt
                log.warning("notices do not get through, the other processes find out by polling: %r", error)
            self._carries = False
        else:
            self._carries = True

    # Executing ------------------------------------------------------------------------------------------------------

    def execute(self, claim: Claim) -> None:
        generation = Generation(self, claim)
        self.generations[claim.run] = generation
        self._launching.append(generation)
        if len(self._launching) == 1:
            self.spawn(self._launch())

    async def _launch(self) -> None:
        """One a turn of the event loop: a burst of prompts must not hold up the streams that are under way."""
        while self._launching:
            generation = self._launching[0]
            # A context of its own: the run must not inherit what belongs to the request that started it.
            generation.task = self.spawn(self._generate(generation), contextvars.Context())
            await asyncio.sleep(0)
            self._launching.popleft()

    async def _generate(self, generation: Generation) -> None:
        try:
            await generation.run()
        except Exception:
            # Its end could not be written: the lease runs out, and whoever takes over finds the log as it is.
            log.exception("run %s could not be ended", generation.claim.run)
        finally:
            if self.generations.get(generation.claim.run) is generation:
                was_full = len(self.generations) >= self.capacity
                del self.generations[generation.claim.run]
                if was_full:
                    self._duties.want_work()

    def ended(self, claim: Claim, ending: Ending) -> None:
        self.publish(ending)
        if ending.event.type == "run.completed" and settings.CHAT_AUTO_TITLE and not self.closing:
            titling = self.spawn(self._title(claim))
            self._titling.add(titling)
            titling.add_done_callback(self._titling.discard)

    def publish(self, ending: Ending) -> None:
        self.bus.publish(str(ending.run), [ending.event])

    async def _title(self, claim: Claim) -> None:
        try:
            await self._suggest_title(claim)
        except (DatabaseError, InterfaceError) as error:
            tell(log, "a chat session is given no title", error)
        except Exception:
            log.exception("chat session %s was given no title", claim.session)

    async def _suggest_title(self, claim: Claim) -> None:
        turns = await self.readers.call(title.first_exchange, claim.session)
        if turns is None:
            return
        suggested = await title.suggest(self.provider, claim.model, turns)
        stored = bool(suggested) and await self.writer.beside(title.store, claim.session, suggested)
        if stored:
            self.notify(SessionNotice(str(claim.session), claim.requester, {"title": suggested}))

    def spawn(self, work: Coroutine[Any, Any, Any], context: contextvars.Context | None = None) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work, context=context)
        self._tasks.add(task)  # the loop itself keeps only weak references
        task.add_done_callback(self._tasks.discard)
        return task


def _news(owner: Owner, accepted: Accepted, asked: AnyPrompt) -> tuple[Notice, ...]:
    session = str(accepted.session)
    changes: dict[str, str | bool | None] = {"active": str(accepted.message)}
    if isinstance(asked, PromptSend) and asked.session is None:
        changes["title"] = start.first_words(asked.text)
    return RunBegan(session, str(accepted.run)), SessionNotice(session, owner.requester, changes)
