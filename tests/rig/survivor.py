"""A client that wants its answer: it comes back after every cut and goes on where it was, checking every frame."""

import asyncio
import itertools
import random
import time
import uuid
from collections.abc import Iterable, Iterator
from typing import Self

from websockets.exceptions import InvalidStatus, WebSocketException

from tests.stored import Stored
from tests.wsclient import Client, RunView, Who

COMES_BACK_AFTER_S = 0.05
COMES_BACK_AT_THE_LATEST_S = 0.5
GIVES_UP_AFTER_S = 60.0


class Survivor:
    def __init__(self, prompt: str, *, cookie: str, origin: str) -> None:
        self.prompt = prompt
        self.who = Who(cookie=cookie, origin=origin)
        # Sent again with the same id when the reply was lost: it must not start a second run.
        self.key = str(uuid.uuid4())
        self.view: RunView | None = None
        self.connections = 0
        self.closed: list[int | None] = []  # the close codes of the connections that ended before the run did
        self.refused = 0  # handshakes that an HTTP status answered: a server that is there, and does not let us in
        self.stalls = 0  # times that nothing came for longer than any fault may last
        self.outages: list[float] = []  # seconds without a connection that brings frames of the run
        self.heard: list[tuple[float, int]] = []  # when a frame came, and up to which seq it brought the run
        self.begun = asyncio.Event()  # some text has come
        self.reading: asyncio.Task[RunView] | None = None
        self.ended_at = 0.0
        self._cut_at: float | None = None

    def watch(self, run: str) -> Self:
        """Read a run that somebody else asked for."""
        self.view = RunView(run)
        return self

    @property
    def restarts(self) -> int:
        """-1 before the run is accepted."""
        return self.view.restarts if self.view is not None else -1

    async def run(self, urls: Iterable[str]) -> RunView:
        """Connects to one URL after the other (the last one for ever) until it has the whole answer."""
        urls = list(urls)
        return await self.run_over(itertools.chain(urls, itertools.repeat(urls[-1])))

    async def run_over(self, urls: Iterator[str]) -> RunView:
        pause = COMES_BACK_AFTER_S
        async with asyncio.timeout(GIVES_UP_AFTER_S):
            for url in urls:
                before = self.connections
                try:
                    await self._once(url)
                except (OSError, WebSocketException, EOFError) as error:
                    self.stalls += isinstance(error, TimeoutError)
                    self.refused += isinstance(error, InvalidStatus)
                    self._cut_at = self._cut_at or time.monotonic()
                    pause = COMES_BACK_AFTER_S if self.connections > before else pause * 2
                    await asyncio.sleep(random.uniform(0.5, 1) * min(pause, COMES_BACK_AT_THE_LATEST_S))
                if self.view is not None and self.view.ended is not None:
                    self.ended_at = time.monotonic()
                    return self.view
        raise AssertionError("unreachable")

    async def _once(self, url: str) -> None:
        async with Client.connect(url, **self.who) as client:
            self.connections += 1
            try:
                await self._read(client)
            except WebSocketException:
                self.closed.append(client.socket.close_code)
                raise

    async def _read(self, client: Client) -> None:
        if self.view is None:
            accepted = await client.prompt(self.prompt, id=self.key)
            self.view = client.view(accepted["run"])
        else:
            reply = await client.follow(self.view)
            # What a client was shown is stored: the log reaches at least as far as it has come.
            assert reply["type"] == "ok", reply
        while self.view.ended is None:
            await client.read()
            self.heard.append((time.monotonic(), self.view.seq))
            if self._cut_at is not None:
                self.outages.append(time.monotonic() - self._cut_at)
                self._cut_at = None
            if self.view.text:
                self.begun.set()

    def check(self, stored: Stored) -> None:
        """What it holds is what is stored, in the message and in the log alike."""
        assert self.view is not None
        assert self.view.text == stored.message_text(self.view.run)
        assert self.view.text == stored.log_text(self.view.run)
        assert self.view.seq == len(stored.events(self.view.run))
        assert stored.run(self.view.run)["ended"] is not None
