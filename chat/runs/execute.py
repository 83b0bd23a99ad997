"""Executes a claimed run: asks the provider, turns its deltas into events of the log, ends the run."""

import asyncio
import logging
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Literal

from django.conf import settings
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError
from django.utils.crypto import salted_hmac

from chat.eventlog import UNFLUSHED_EVENTS, Lease
from chat.eventlog.writer import MOST_PAUSE
from chat.models import Run
from chat.models.outage import cause, is_outage, tell
from chat.protocol.answer import Answer
from chat.protocol.events import MERGED_CHARS, PartDelta, RunRestarted, RunStarted, Timing, UsageReport, encode_data
from chat.providers.base import (
    ChatTurn,
    Delta,
    Finish,
    ProviderError,
    ReasoningDelta,
    Request,
    TextDelta,
    UpstreamAccepted,
    Usage,
)
from chat.runs import context
from chat.runs.claim import Claim
from chat.runs.finish import Ending, Failure, Outcome, end
from chat.runs.owner import Owner
from chat.runs.tokens import TURN_TOKENS, estimate_tokens

if TYPE_CHECKING:
    from chat.runs.engine import Engine

log = logging.getLogger(__name__)

Interruption = Literal["stop", "fenced", "storage", "shutdown"]
Status = Run.Status

# A value that no column takes: it is refused at every try, and must not leave a run that never ends.
_REFUSED = (DataError, IntegrityError, OverflowError, ValueError)

_TOO_LONG = Failure(
    "context_too_long", "The prompt is longer than this model can read. Shorten it or pick another model.", False
)
_STORAGE = Failure("storage", "The answer could not be stored. What was stored is kept; try again soon.", True)
_INTERNAL = Failure("internal", "Something went wrong on the server. Try again; the log says what it was.", True)


class Generation:
    """One attempt at a run, in a task of its own."""

    def __init__(self, engine: "Engine", claim: Claim) -> None:
        self.engine = engine
        self.claim = claim
        self.lease = Lease(claim.run, claim.log_id, claim.epoch, claim.top)
        self.lease.on_loss = self.interrupt
        self.interruption: Interruption | None = None
        self.task: asyncio.Task[None] | None = None
        self._append = engine.writer.append
        self._running = False
        self._ending = False
        self._answer = Answer()
        self._kind = ""
        self._part = -1
        self._begun = time.monotonic()
        self._first_token: float | None = None
        self._chars = 0
        self._input_tokens = 0
        self._usage: Usage | None = None
        self._finish = ""
        self._accepted = UpstreamAccepted()

    def interrupt(self, interruption: Interruption) -> None:
        """End the attempt. The first reason counts, and none does once the end is being written."""
        if self._ending or self.interruption:
            return
        self.interruption = interruption
        # A task that is cancelled before its first step never runs at all, and could not write its end.
        if self.task is not None and self._running:
            self.task.cancel()

    def may_follow(self, owner: Owner, after: int) -> bool:
        """Whether this is theirs and holds `after`, which needs no query for a run that is executed right here.

        No proves nothing: the requester of a run may have lost or handed over the chat session since. One that is
        ending may have been deleted with it.
        """
        if self._ending or self.interruption:
            return False
        return self.claim.requester == owner.requester and after <= self.lease.stored

    async def run(self) -> None:
        try:
            await self._generate()
        except asyncio.CancelledError:
            if self.interruption is None:
                raise  # not by us: the loop is being torn down
            await self._interrupted(self.interruption)
        except Exception as error:
            # A provider may make something else of the cancellation that ends it.
            if self.interruption is not None:
                await self._interrupted(self.interruption)
            else:
                await self._fail(self._reason(error))
        else:
            await self._end(Status.COMPLETED)

    def _reason(self, error: Exception) -> Failure:
        if isinstance(error, context.ContextTooLong):
            return _TOO_LONG
        if isinstance(error, ProviderError):
            log.warning("run %s failed: %s: %s", self.claim.run, error, error.detail)
            return _failure(error)
        if is_outage(error):
            log.error("run %s failed: %s", self.claim.run, cause(error))
            return _STORAGE
        log.error("run %s failed", self.claim.run, exc_info=error)
        return _INTERNAL

    async def _generate(self) -> None:
        self._running = True
        if self.interruption is not None:
            raise asyncio.CancelledError
        self._begin()
        request = await self._request()
        most, lease = settings.CHAT_ANSWER_CHARS, self.lease
        async with aclosing(self.engine.provider.stream(request)) as stream:
            async for deltas in stream:
                for delta in deltas:
                    self._take(delta)
                if self._chars >= most:
                    self._finish = "length"
                    return
                if lease.unflushed >= UNFLUSHED_EVENTS:
                    await lease.room()

    def _begin(self) -> None:
        claim = self.claim
        if claim.top == 0:
            started = RunStarted(str(claim.session), str(claim.message), claim.model, claim.attempt)
            self._append(self.lease, "run.started", encode_data(started))
        else:
            restarted = RunRestarted(claim.attempt, claim.reason, [])
            self._append(self.lease, "run.restarted", encode_data(restarted))

    async def _request(self) -> Request:
        claim = self.claim
        window = await self.engine.window(claim.model)
        wanted = claim.options.get("max_output_tokens")

        system = str(claim.options.get("system") or claim.system or settings.CHAT_SYSTEM_PROMPT)
        if claim.opening:
            said = [ChatTurn("user", claim.opening)]  # known already: no need to ask the database
        else:
            said = await self._said_before()
        turns = context.build(said, system, window, int(wanted or window // 4))
        self._input_tokens = sum(estimate_tokens(turn.text) + TURN_TOKENS for turn in turns)
        return Request(
            model=claim.model,
            turns=turns,
            temperature=claim.options.get("temperature"),
            max_output_tokens=wanted,
            # The same for all that this user asks, and nobody's name: the upstream may block one user, not all of us.
            user=salted_hmac("chat.upstream", claim.requester).hexdigest()[:32],
        )

    async def _said_before(self) -> list[ChatTurn]:
        """As patient as the log: a run must not fail for a moment without a database."""
        give_up = time.monotonic() + settings.CHAT_STORAGE_TIMEOUT
        while True:
            try:
                return await self.engine.readers.call(context.turns_before, self.claim.message)
            except (DatabaseError, InterfaceError) as error:
                if not is_outage(error) or time.monotonic() + MOST_PAUSE > give_up:
                    raise
                tell(log, "runs cannot begin, it is tried again", error)
            await asyncio.sleep(MOST_PAUSE)

    def _take(self, delta: Delta) -> None:
        if isinstance(delta, TextDelta):
            self._delta("text", "text.delta", delta.text)
        elif isinstance(delta, ReasoningDelta):
            self._delta("reasoning", "reasoning.delta", delta.text)
        elif isinstance(delta, Usage):
            self._usage = delta
        elif isinstance(delta, Finish):
            self._finish = delta.reason
        else:
            self._accepted = delta

    def _delta(self, kind: str, event: str, text: str) -> None:
        if not text:
            return  # it would begin a part that no event tells of
        if len(text) > MERGED_CHARS:
            # A huge delta becomes several events, so that no frame is much longer than the merged ones.
            for start in range(0, len(text), MERGED_CHARS):
                self._delta(kind, event, text[start : start + MERGED_CHARS])
            return
        part = self._part + (kind != self._kind)
        if "\0" in text:
            text = text.replace("\0", "\ufffd")  # Postgres stores none: the run could not be ended
        # Encoded before anything is kept of it: text that cannot be encoded could not be stored at the end either.
        data = encode_data(PartDelta(part, text))
        if self._first_token is None:
            self._first_token = time.monotonic()
        self._kind, self._part = kind, part
        self._answer.add(part, kind, text)
        self._chars += len(text)
        self._append(self.lease, event, data)

    async def _interrupted(self, interruption: Interruption) -> None:
        match interruption:
            case "stop":
                await self._end(Status.STOPPED)
            case "storage":
                await self._fail(_STORAGE)
            case "fenced":
                log.warning("run %s was taken over by another process", self.claim.run)
            case "shutdown":
                log.info("run %s is given back unfinished", self.claim.run)

    async def _fail(self, failure: Failure) -> None:
        if self._accepted.request_id and not failure.request_id:
            failure = failure._replace(request_id=self._accepted.request_id)
        await self._end(Status.FAILED, failure)

    async def _end(self, status: Run.Status, failure: Failure | None = None) -> None:
        self._ending = True
        outcome = Outcome(
            status=status,
            parts=self._answer.parts,
            # Interrupted before its first event, it has nothing of its own: the log may hold an earlier attempt's text.
            seq=self.lease.seq if self.lease.seq > self.claim.top else None,
            usage=self._usage_report(),
            timing=self._timing(),
            finish_reason=self._finish if status == Status.COMPLETED else "",
            failure=failure,
            request_id=failure.request_id if failure else self._accepted.request_id,
            retries=self._accepted.retries,
        )
        try:
            ending = await self._write(outcome)
        except _REFUSED:
            log.exception("run %s cannot end as it did", self.claim.run)
            ending = await self._write(self._bare(outcome))
        if ending is not None:
            self.engine.ended(self.claim, ending)

    def _bare(self, outcome: Outcome) -> Outcome:
        """Nothing but what is in the log already and what is ours."""
        usage = UsageReport(input_tokens=0, output_tokens=0, estimated=True)
        return Outcome(Status.FAILED, [], None, usage, outcome.timing, failure=_STORAGE)

    def _end_stored(self, outcome: Outcome) -> Ending | None:
        """In the writer's thread, behind all that was appended: only there is it known whether that was stored."""
        if self.lease.broken:
            outcome = outcome._replace(seq=None)
            if outcome.status == Status.COMPLETED:
                outcome = outcome._replace(status=Status.FAILED, failure=_STORAGE, finish_reason="")
        return end(self.lease, self.claim.message, outcome)

    async def _write(self, outcome: Outcome) -> Ending | None:
        """As patient as the log: a whole answer must not be lost to a moment without a database."""
        give_up = time.monotonic() + settings.CHAT_STORAGE_TIMEOUT
        pause = 0.05
        while True:
            try:
                # If it was stored and only the word of it lost, the repeat gives None; followers find it by polling.
                return await self.engine.writer.call(self._end_stored, outcome)
            except _REFUSED:
                raise
            except (DatabaseError, InterfaceError) as error:
                if time.monotonic() + pause > give_up:
                    raise
                tell(log, "runs cannot be ended, it is tried again", error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, MOST_PAUSE)

    def _usage_report(self) -> UsageReport:
        if self._usage is None:
            output = sum(estimate_tokens(part["text"]) for part in self._answer.parts)
            return UsageReport(input_tokens=self._input_tokens, output_tokens=output, estimated=True)
        return UsageReport(
            input_tokens=self._usage.input_tokens,
            output_tokens=self._usage.output_tokens,
            reasoning_tokens=self._usage.reasoning_tokens,
            estimated=self._usage.estimated,
        )

    def _timing(self) -> Timing:
        now = time.monotonic()
        first = None if self._first_token is None else _ms(self._first_token - self._begun)
        return Timing(first_token_ms=first, total_ms=_ms(now - self._begun))


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _failure(error: ProviderError) -> Failure:
    return Failure(error.code, error.message, error.retryable, error.status, error.request_id, error.detail)
