"""A client that wants its answer: it comes back after every cut and goes on where it was, checking every frame."""

import asyncio
import itertools
import uuid
from collections.abc import Iterable

from websockets.exceptions import WebSocketException

from tests.stored import Stored
from tests.wsclient import Client, RunView, Who

COMES_BACK_AFTER_S = 0.05
GIVES_UP_AFTER_S = 60.0


class Survivor:
    def __init__(self, prompt: str, *, cookie: str, origin: str) -> None:
        self.prompt = prompt
        self.who = Who(cookie=cookie, origin=origin)
        # Sent again with the same id when the reply was lost: it must not start a second run.
        self.key = str(uuid.uuid4())
        self.view: RunView | None = None
        self.connections = 0
        self.begun = asyncio.Event()  # some text has come
        self.reading: asyncio.Task[RunView] | None = None

    @property
    def restarts(self) -> int:
        """-1 before the run is accepted."""
        return self.view.restarts if self.view is not None else -1

    async def run(self, urls: Iterable[str]) -> RunView:
        """Connects to one URL after the other (the last one for ever) until it has the whole answer."""
        urls = list(urls)
        async with asyncio.timeout(GIVES_UP_AFTER_S):
            for url in itertools.chain(urls, itertools.repeat(urls[-1])):
                try:
                    await self._once(url)
                except (OSError, WebSocketException, EOFError):
                    await asyncio.sleep(COMES_BACK_AFTER_S)
                if self.view is not None and self.view.ended is not None:
                    return self.view
        raise AssertionError("unreachable")

    async def _once(self, url: str) -> None:
        async with Client.connect(url, **self.who) as client:
            self.connections += 1
            if self.view is None:
                accepted = await client.prompt(self.prompt, id=self.key)
                self.view = client.view(accepted["run"])
            else:
                reply = await client.follow(self.view)
                # What a client was shown is stored: the log reaches at least as far as it has come.
                assert reply["type"] == "ok", reply
            while self.view.ended is None:
                await client.read()
                if self.view.text:
                    self.begun.set()

    def check(self, stored: Stored) -> None:
        """What it holds is what is stored, in the message and in the log alike."""
        assert self.view is not None
        assert self.view.text == stored.message_text(self.view.run)
        assert self.view.text == stored.log_text(self.view.run)
        assert self.view.seq == len(stored.events(self.view.run))
        assert stored.run(self.view.run)["ended"] is not None
