"""Executes a claimed run: asks the provider, turns its deltas into events of the log, ends the run."""

import asyncio
import logging
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Literal

from django.conf import settings

from chat.eventlog import Lease
from chat.models import Run
from chat.protocol.answer import Answer
from chat.protocol.events import MERGED_CHARS, PartDelta, RunRestarted, RunStarted, Timing, UsageReport, encode_data
from chat.providers.base import (
    ChatTurn,
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
from chat.runs.tokens import TURN_TOKENS, estimate_tokens

if TYPE_CHECKING:
    from chat.runs.engine import Engine

log = logging.getLogger(__name__)

Interruption = Literal["stop", "fenced", "storage", "shutdown"]
Status = Run.Status

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
        self.lease = Lease(claim.run, claim.epoch, claim.top)
        self.lease.on_loss = self.interrupt
        self.interruption: Interruption | None = None
        self.task: asyncio.Task[None] | None = None
        self._ending = False
        self._answer = Answer()
        self._kind = ""
        self._part = -1
        self._begun = time.monotonic()
        self._first_token: float | None = None
        self._input_tokens = 0
        self._usage: Usage | None = None
        self._finish = ""
        self._accepted = UpstreamAccepted()

    def interrupt(self, interruption: Interruption) -> None:
        """End the attempt. The first reason counts, and none does once the end is being written."""
        if self._ending or self.interruption:
            return
        self.interruption = interruption
        if self.task is not None:
            self.task.cancel()

    async def run(self) -> None:
        try:
            await self._generate()
        except asyncio.CancelledError:
            if self.interruption is None:
                raise  # not by us: the loop is being torn down
            await self._interrupted(self.interruption)
        except ProviderError as error:
            log.warning("run %s failed: %s: %s", self.claim.run, error, error.detail)
            await self._fail(_failure(error))
        except context.ContextTooLong:
            await self._fail(_TOO_LONG)
        except Exception:
            log.exception("run %s failed", self.claim.run)
            await self._fail(_INTERNAL)
        else:
            await self._end(Status.COMPLETED)

    async def _generate(self) -> None:
        self._begin()
        request = await self._request()
        async with aclosing(self.engine.provider.stream(request)) as stream:
            async for deltas in stream:
                for delta in deltas:
                    self._take(delta)
                if self.lease.full:
                    await self.lease.room()

    def _begin(self) -> None:
        claim = self.claim
        if claim.top == 0:
            started = RunStarted(str(claim.session), str(claim.message), claim.model, claim.attempt)
            self._append("run.started", encode_data(started))
        else:
            restarted = RunRestarted(claim.attempt, "worker_lost", [])
            self._append("run.restarted", encode_data(restarted))

    async def _request(self) -> Request:
        claim = self.claim
        window = await self.engine.window(claim.model)
        wanted = claim.options.get("max_output_tokens")

        def read() -> list[ChatTurn]:
            system = context.system_prompt(claim.session, claim.options, settings.CHAT_SYSTEM_PROMPT)
            return context.build(claim.message, system, window, int(wanted or window // 4))

        turns = await self.engine.readers.call(read)
        self._input_tokens = sum(estimate_tokens(turn.text) + TURN_TOKENS for turn in turns)
        return Request(
            model=claim.model,
            turns=turns,
            temperature=claim.options.get("temperature"),
            max_output_tokens=wanted,
        )

    def _take(self, delta: object) -> None:
        match delta:
            case TextDelta(text):
                self._delta("text", "text.delta", text)
            case ReasoningDelta(text):
                self._delta("reasoning", "reasoning.delta", text)
            case Usage():
                self._usage = delta
            case Finish(reason):
                self._finish = reason
            case UpstreamAccepted():
                self._accepted = delta

    def _delta(self, kind: str, event: str, text: str) -> None:
        if kind != self._kind:
            self._kind = kind
            self._part += 1
            if self._first_token is None:
                self._first_token = time.monotonic()
        self._answer.add(self._part, kind, text)
        # A huge delta becomes several events, so that no frame is much longer than the merged ones.
        for start in range(0, len(text), MERGED_CHARS):
            self._append(event, encode_data(PartDelta(self._part, text[start : start + MERGED_CHARS])))

    def _append(self, event: str, data: str) -> None:
        self.engine.writer.append(self.lease, event, data)

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
            seq=self.lease.seq,
            usage=self._usage_report(),
            timing=self._timing(),
            finish_reason=self._finish if status == Status.COMPLETED else "",
            failure=failure,
            request_id=failure.request_id if failure else self._accepted.request_id,
            retries=self._accepted.retries,
        )
        ending: Ending | None = await self.engine.writer.call(end, self.claim.run, self.claim.epoch, outcome)
        if ending is not None:
            self.engine.ended(self.claim, ending, status)

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
