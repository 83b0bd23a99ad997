"""One accepted answer: network reads become batches, under the watchdog's eyes."""

import asyncio

from chat.providers.base import Delta
from chat.providers.client import Read, failure_of_reading, transport_errors
from chat.providers.failures import timed_out
from chat.providers.reading import Reading
from chat.providers.watchdog import Timeouts, Watchdog

# After [DONE] the end of the HTTP body is worth a moment: only a body read to its end leaves a connection to reuse.
DRAIN_S = 0.1


class Answer:
    def __init__(self, read: Read, reading: Reading, dog: Watchdog, limits: Timeouts) -> None:
        self._read = read
        self._reading = reading
        self._dog = dog
        self._now = asyncio.get_running_loop().time
        self._tail = limits.tail
        self._begun = self._finishing = self._over = self._drained = False

    async def batch(self) -> list[Delta]:
        """The next deltas; empty at the end of the answer."""
        reading, dog = self._reading, self._dog
        while not self._drained:
            if reading.failure:
                raise reading.failure
            dog.since, dog.waiting = self._now(), True
            try:
                data = await self._read()
            except (Exception, asyncio.CancelledError) as error:
                data = self._ended_by(error)
            finally:
                dog.waiting = False
            if self._over:  # nothing counts after [DONE]
                self._drained = not data
                continue
            batch = reading.feed(data) if data else reading.end()
            if reading.begun is not self._begun or reading.finished is not self._finishing:
                self._advance()
            if not data or reading.done:
                self._close(batch)
            if batch:
                return batch
        if reading.failure:
            raise reading.failure
        return []

    def _advance(self) -> None:
        if self._reading.finished:
            self._finishing = self._begun = True
            self._dog.finishing(self._tail)
        elif not self._begun:
            self._begun = True
            self._dog.started()

    def _close(self, batch: list[Delta]) -> None:
        self._over = True
        if self._reading.done:
            batch += self._reading.end()
            self._dog.finishing(DRAIN_S)
        else:
            self._drained = True
        if not self._reading.failure:
            batch += self._reading.closing()

    def _ended_by(self, error: BaseException) -> bytes:
        """The end of the body, if the model has finished anyway; else raises what the reader is to be told."""
        cancelled = isinstance(error, asyncio.CancelledError)
        if not (self._dog.interrupted() if cancelled else isinstance(error, transport_errors())):
            raise error
        if self._reading.finished or self._reading.done:
            return b""
        raise (timed_out(self._dog.expired) if cancelled else failure_of_reading(error)) from error
