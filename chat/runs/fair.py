"""Which waiting runs a worker takes next. Plain values in and out: no database."""

from collections import Counter, deque
from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

K = TypeVar("K", bound=Hashable)


def pick(waiting: Iterable[tuple[K, str]], running: Mapping[str, int], room: int, reserved: int) -> list[K]:
    """At most `room` of the waiting runs, each given as (run, requester), oldest first.

    Whoever has least running comes first, then whoever waits longest. The last `reserved` places are for those who have
    nothing running: a user with many long answers must not make everybody wait for the end of one.
    """
    queues: dict[str, deque[K]] = {}  # in the order in which their oldest run waits
    for run, requester in waiting:
        queues.setdefault(requester, deque()).append(run)
    active = Counter(running)
    picked: list[K] = []
    while queues and len(picked) < room:
        requester = min(queues, key=lambda who: active[who])
        if active[requester] and room - len(picked) <= reserved:
            break
        picked.append(queues[requester].popleft())
        active[requester] += 1
        if not queues[requester]:
            del queues[requester]
    return picked


def reserve(capacity: int) -> int:
    """Of a worker's places: a tenth, but one at least where there is more than one."""
    return max(1, capacity // 10) if capacity > 1 else 0
