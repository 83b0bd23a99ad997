"""Pages asked for again and again while a fault is under way."""

import asyncio
import http.client
import itertools
import time
from collections import Counter
from contextlib import suppress
from typing import Self

from tests.rig import Deployment
from tests.visitors import Visitor

PAUSE_S = 0.1
# A page, a form, a page that is not there, and somebody who wants JSON.
REQUESTS = [("/", "text/html"), ("/login/", "text/html"), ("/nothing/", "text/html"), ("/", "application/json")]
FINE = {200, 404}


class Probe:
    """`wrong`: answers that are neither fine nor an honest 503."""

    def __init__(self, whole: Deployment, visitor: Visitor) -> None:
        self._ports = [web.port for web in whole.webs]
        self._cookie = visitor.cookie
        self.statuses: Counter[int] = Counter()
        self.wrong: list[str] = []
        self.slowest = 0.0
        self._fine_at = [0.0 for _ in self._ports]
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._ask(number)) for number in range(len(self._ports))]
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task

    def fine_since(self, moment: float) -> bool:
        """Whether each process gave a good answer to a request that was sent after this moment."""
        return min(self._fine_at) > moment

    async def _ask(self, number: int) -> None:
        for path, accept in itertools.cycle(REQUESTS):
            begun = time.monotonic()
            status = await asyncio.to_thread(self._get, self._ports[number], path, accept)
            self.slowest = max(self.slowest, time.monotonic() - begun)
            if status in FINE:
                self._fine_at[number] = begun
            await asyncio.sleep(PAUSE_S)

    def _get(self, port: int, path: str, accept: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("GET", path, headers={"Cookie": self._cookie, "Accept": accept})
            response = connection.getresponse()
            body = response.read().decode()
        finally:
            connection.close()
        self.statuses[response.status] += 1
        honest = response.status == 503 and response.getheader("Retry-After") == "2"
        if honest and accept == "application/json":
            honest = '"code": "unavailable"' in body
        if not honest and response.status not in FINE:
            self.wrong.append(f"{response.status} {path} {accept}: {body[:300]}")
        return response.status
