"""How late the chunks of a steady stream were shown: what a fault added to their way, in seconds.

The upstream writes chunk i at its start + i / rate, whatever happens to those who read. So the chunk that came through
quickest gives the schedule of all, and the others are late by what they came after it.
"""

from collections.abc import Iterator, Sequence

from tests.rig.clients import Crowd
from tests.rig.survivor import Survivor

FIRST_CHUNK = 2  # its seq: run.started is 1


def late(crowds: Sequence[Crowd], rate: float, since: float = 0.0, until: float = float("inf")) -> list[float]:
    """Sorted, of all chunks that were shown to anybody between two moments (of time.monotonic)."""
    return sorted(
        seconds
        for crowd in crowds
        for client in crowd.clients
        for at, seconds in _late(client, crowd.chunks, rate)
        if since <= at <= until
    )


def _late(client: Survivor, chunks: int, rate: float) -> Iterator[tuple[float, float]]:
    shown = list(_shown(client, chunks))
    schedule = min((at - chunk / rate for at, chunk in shown), default=0.0)
    return ((at, at - chunk / rate - schedule) for at, chunk in shown)


def _shown(client: Survivor, chunks: int) -> Iterator[tuple[float, int]]:
    seq = 0
    for at, reached in client.heard:
        for each in range(seq + 1, reached + 1):
            if 0 <= each - FIRST_CHUNK < chunks:
                yield at, each - FIRST_CHUNK
        seq = max(seq, reached)
