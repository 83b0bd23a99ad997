"""Those who read while a fault is under way: each run is asked for by one client and read in several tabs."""

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.rig.survivor import Survivor
from tests.upstream import Scenario
from tests.visitors import Visitor


@dataclass
class Crowd:
    """One run and its readers, the first of whom asked for it."""

    seed: str
    chunks: int
    clients: list[Survivor] = field(default_factory=list)

    @property
    def run(self) -> str:
        view = self.clients[0].view
        assert view is not None
        return view.run

    @property
    def outages(self) -> list[float]:
        """Seconds that each of their disconnections lasted, until the next frame of the run."""
        return [outage for client in self.clients for outage in client.outages]


@asynccontextmanager
async def stream(
    urls: Sequence[str], visitor: Visitor, *, runs: int = 10, tabs: int = 3, chunks: int = 150, rate: float = 30
) -> AsyncIterator[list[Crowd]]:
    """`runs` answers under way, each read in `tabs` tabs spread over `urls`. At its end all have their whole answer.

    A client that loses its connection comes back, to the next of the URLs.
    """
    crowds = [Crowd(secrets.token_hex(4), chunks) for _ in range(runs)]
    origin = f"http://127.0.0.1:{visitor.port}"
    first = itertools.count()

    def client(prompt: str) -> Survivor:
        turn = next(first) % len(urls)
        survivor = Survivor(prompt, cookie=visitor.cookie, origin=origin)
        cycle = itertools.cycle([*urls[turn:], *urls[:turn]])
        survivor.reading = asyncio.create_task(survivor.run_over(cycle))
        return survivor

    try:
        for crowd in crowds:
            crowd.clients.append(client(Scenario(seed=crowd.seed, chunks=chunks, rate=rate).prompt))
        await asyncio.gather(*(_begun(crowd.clients[0]) for crowd in crowds))
        for crowd in crowds:
            crowd.clients += [client("").watch(crowd.run) for _ in range(tabs - 1)]
        await asyncio.gather(*(_begun(each) for crowd in crowds for each in crowd.clients))
        yield crowds
        await asyncio.gather(*(each.reading for crowd in crowds for each in crowd.clients if each.reading))
    finally:
        for each in [each for crowd in crowds for each in crowd.clients]:
            if each.reading is not None:
                each.reading.cancel()
        await asyncio.gather(
            *(each.reading for crowd in crowds for each in crowd.clients if each.reading), return_exceptions=True
        )


async def _begun(client: Survivor) -> None:
    """Some text has come; or it failed, which is told here and not after a timeout."""
    assert client.reading is not None
    begun = asyncio.ensure_future(client.begun.wait())
    await asyncio.wait({begun, client.reading}, return_when=asyncio.FIRST_COMPLETED)
    if not begun.done():
        begun.cancel()
        await client.reading
