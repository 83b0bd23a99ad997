"""What two tabs on two web processes do in one moment: send, and stop. Each raises when the outcome is another."""

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from tests.rig import Deployment
from tests.stored import Stored
from tests.upstream import Scenario, expected_text
from tests.visitors import Visitor
from tests.wsclient import TERMINAL, Client, Frame, RunView, Who

STOP_S = 0.5  # at the 95th percentile, from the click to the terminal frame


@asynccontextmanager
async def two_tabs(whole: Deployment, visitor: Visitor) -> AsyncIterator[tuple[Client, Client]]:
    """Of one user, each on a web process of its own."""
    who = Who(cookie=visitor.cookie, origin=f"http://127.0.0.1:{visitor.port}")
    async with Client.connect(whole.webs[0].ws, **who) as one, Client.connect(whole.webs[-1].ws, **who) as other:
        yield one, other


# E3 -----------------------------------------------------------------------------------------------------------------


async def send_at_once(whole: Deployment, visitor: Visitor, rounds: int) -> None:
    """Of two prompts to one chat session one is taken and one refused as busy; both tabs see the one that was."""
    async with two_tabs(whole, visitor) as tabs:
        first = await tabs[0].prompt(Scenario(seed="first", chunks=1).prompt)
        session = first["session"]
        await tabs[0].ended(first["run"])
        for tab in tabs:
            assert (await tab.ask("session.open", session=session))["type"] == "session.state"
        taken = [await _round(tabs, session) for _ in range(rounds)]
        shown = [await _branch(tab, session) for tab in tabs]
    assert shown[0] == shown[1], "both in one order"
    assert len(shown[0]) == 2 * (1 + rounds)
    assert shown[0][3::2] == taken, "in the order in which they were taken"


async def _round(tabs: Sequence[Client], session: str) -> str:
    """The text that was answered."""
    seeds = [secrets.token_hex(4) for _ in tabs]
    prompts = [Scenario(seed=seed, chunks=15, rate=50).prompt for seed in seeds]
    replies = await asyncio.gather(
        *(tab.ask("prompt.send", session=session, text=text) for tab, text in zip(tabs, prompts, strict=True))
    )
    assert sorted(reply["type"] for reply in replies) == ["error", "run.accepted"], replies
    winner = 0 if replies[0]["type"] == "run.accepted" else 1
    assert replies[1 - winner]["code"] == "busy", replies
    assert replies[1 - winner]["retryable"] is True
    text = expected_text(seeds[winner], 15)
    for view in await asyncio.gather(*(tab.ended(replies[winner]["run"]) for tab in tabs)):
        assert view.text == text
    return text


async def _branch(tab: Client, session: str) -> list[str]:
    """All texts on the active branch, in order, over all pages."""
    state = await tab.ask("session.open", session=session)
    messages = state["messages"]
    while state["more"]:
        state = await tab.ask("session.open", session=session, before=state["more"])
        messages = state["messages"] + messages
    return [message["text"] for message in messages]


# E4 -----------------------------------------------------------------------------------------------------------------


async def stop_at_the_end(whole: Deployment, visitor: Visitor, rng: random.Random, runs: int) -> dict[str, int]:
    """Stops from the other web process, twice, around the moment of the natural end. How often each ending was."""
    found: dict[str, int] = {}
    async with two_tabs(whole, visitor) as (one, other):
        for _ in range(runs):
            scenario = Scenario(seed=secrets.token_hex(4), chunks=10, rate=100)
            accepted = await one.prompt(scenario.prompt)
            stopping = asyncio.create_task(_stop_twice(other, accepted["run"], rng.uniform(0, 0.2)))
            view = await one.ended(accepted["run"])
            assert [reply["type"] for reply in await stopping] == ["ok", "ok"]
            ending = _check_end(whole.stored, view, expected_text(scenario.seed, 10))
            found[ending] = found.get(ending, 0) + 1
    return found


async def _stop_twice(tab: Client, run: str, after: float) -> list[Frame]:
    await asyncio.sleep(after)
    return [await tab.ask("run.stop", run=run) for _ in range(2)]


def _check_end(stored: Stored, view: RunView, whole: str) -> str:
    assert view.ended is not None
    events = stored.events(view.run)
    assert [event.type for event in events if event.type in TERMINAL] == [view.ended["type"]]
    assert events[-1].seq == view.seq
    assert view.text == stored.message_text(view.run)
    assert whole.startswith(view.text)
    assert view.ended["type"] != "run.completed" or view.text == whole
    return str(view.ended["type"])


async def stop_latencies(whole: Deployment, visitor: Visitor, runs: int, *, first_token: bool) -> list[float]:
    """Seconds from a stop in one tab to the terminal frame in the other; before the first token or within the text."""
    found: list[float] = []
    async with two_tabs(whole, visitor) as (one, other):
        for _ in range(runs):
            wait = 0.0 if first_token else 60.0
            accepted = await one.prompt(
                Scenario(seed=secrets.token_hex(4), chunks=2000, rate=20, first_token_delay=wait).prompt
            )
            view = one.view(accepted["run"])
            while view.seq < (3 if first_token else 1):
                await one.read()
            begun = time.monotonic()
            reply = asyncio.create_task(other.ask("run.stop", run=view.run))
            await one.ended(view.run)
            found.append(time.monotonic() - begun)
            assert (await reply)["type"] == "ok"
            assert view.ended is not None
            assert view.ended["type"] == "run.stopped"
            assert view.text == whole.stored.message_text(view.run)
    return found
