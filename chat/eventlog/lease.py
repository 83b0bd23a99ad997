import asyncio
from collections.abc import Callable
from typing import Literal
from uuid import UUID

Loss = Literal["fenced", "storage"]

UNFLUSHED_EVENTS = 512


class Lease:
    """The right to write one run's log, held by the task that executes it, on whose event loop it is used.

    `seq` is the last one given out, `stored` the last one committed. `unflushed` counts what the writer was given and
    has not committed: when the database is slower than the model, the executing task waits in `room()` and stops
    reading the upstream.
    """

    def __init__(self, run: UUID, log_id: int, epoch: int, seq: int) -> None:
        self.run = run
        self.key = str(run)
        self.log_id = log_id
        self.epoch = epoch
        self.seq = seq
        self.stored = seq
        self.unflushed = 0
        self.loss: Loss | None = None
        self.on_loss: Callable[[Loss], None] | None = None
        # Set by the writer's thread when it gave up on a batch: what follows would leave a gap and is dropped as well.
        self.broken = False
        self._room: asyncio.Event | None = None  # while `room` waits

    def flushed(self, count: int) -> None:
        self.unflushed -= count
        if self._room is not None and not self.full:
            self._room.set()

    @property
    def full(self) -> bool:
        return self.unflushed >= UNFLUSHED_EVENTS

    async def room(self) -> None:
        while self.full and self.loss is None:
            self._room = asyncio.Event()
            await self._room.wait()
        self._room = None

    def lose(self, loss: Loss) -> None:
        """Somebody else holds the run, or it cannot be stored: end the executing task, which must write no more."""
        if self.loss is None:
            self.loss = loss
            if self._room is not None:
                self._room.set()
            if self.on_loss is not None:
                self.on_loss(loss)
