from collections.abc import Callable, Sequence
from typing import Protocol

from chat.protocol.events import Event


class Subscriber(Protocol):
    def take(self, events: Sequence[Event]) -> None:
        """A batch that was just committed."""

    def reach(self, top: int) -> None:
        """The log is known to hold events up to seq `top`."""

    def close(self) -> None:
        """There is no such run any more."""


class Bus:
    """Carries batches that are already in the log to who follows the run, within one process.

    A batch is a hint with a payload: a follower takes it only if it continues at its next seq and reads the log
    otherwise, so a lost, repeated or reordered hint costs time, never text.
    """

    def __init__(self) -> None:
        self._subscribers: dict[str, list[Subscriber]] = {}
        # Called when what other processes publish of a run is heard from now on: what came before may have been missed.
        self.joined: Callable[[str], None] = lambda run: None

    @property
    def reached(self) -> bool | None:
        """Whether what carries hints between processes answers; None where there is no such thing."""
        return None

    async def open(self) -> None:
        """On the event loop it is used on."""

    async def close(self) -> None:
        """Ends what `open` began."""

    def subscribe(self, run: str, subscriber: Subscriber) -> None:
        self._subscribers.setdefault(run, []).append(subscriber)

    def unsubscribe(self, run: str, subscriber: Subscriber) -> None:
        subscribers = self._subscribers.get(run, [])
        if subscriber in subscribers:
            subscribers.remove(subscriber)
        if not subscribers:
            self._subscribers.pop(run, None)

    def publish(self, run: str, events: Sequence[Event]) -> None:
        subscribers = self._subscribers.get(run)
        if subscribers:
            # A copy: a subscriber may leave while it is told.
            for subscriber in tuple(subscribers):
                subscriber.take(events)

    def reach(self, run: str, top: int) -> None:
        for subscriber in tuple(self._subscribers.get(run, ())):
            subscriber.reach(top)

    def end(self, run: str) -> None:
        for subscriber in tuple(self._subscribers.get(run, ())):
            subscriber.close()

    async def is_followed(self, run: str) -> bool | None:
        """Whether anybody follows the run, in any process; None: that cannot be said right now."""
        return run in self._subscribers

    @property
    def followed(self) -> list[str]:
        return list(self._subscribers)
