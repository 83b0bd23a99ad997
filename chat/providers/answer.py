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
        self._tail = limits.tail
        self._begun = self._finishing = self._over = False

    async def batch(self) -> list[Delta]:
        """The next deltas; empty at the end of the answer."""
        reading = self._reading
        while not self._over:
            if reading.failure:
                raise reading.failure
            data = await self._next()
            batch = reading.feed(data) if data else reading.end()
            if reading.begun is not self._begun or reading.finished is not self._finishing:
                self._advance()
            if not data or reading.done:
                self._close(batch)
            if batch:
                return batch
        if reading.failure:
            raise reading.failure
        if reading.done:
            await self._drain()
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
        if not self._reading.failure:
            batch += self._reading.closing()

    async def _drain(self) -> None:
        self._dog.finishing(DRAIN_S)
        while await self._next():
            pass  # nothing counts after [DONE]

    async def _next(self) -> bytes:
        """The next network read; b"" at the end of the body, and at any end once the model has finished."""
        self._dog.begin()
        try:
            return await self._read()
        except asyncio.CancelledError as error:
            if not self._dog.interrupted():
                raise
            if self._reading.finished or self._reading.done:
                return b""
            raise timed_out(self._dog.expired) from error
        except transport_errors() as error:
            if self._reading.finished or self._reading.done:
                return b""
            raise failure_of_reading(error) from error
        finally:
            self._dog.end()
