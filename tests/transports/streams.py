"""What the tests of streams over HTTP have in common."""

from urllib.parse import urlencode

from tests.servers import ServerProcess
from tests.sseclient import Answer, Sent
from tests.upstream import Scenario

STORY = Scenario(seed="sse", chunks=12, reasoning=3)
# What the EventSource of a page of the server's own sends along, as keywords of Answer.ask.
PAGE = {"Sec_Fetch_Site": "same-origin"}


async def told(server: ServerProcess, alice: dict[str, str], story: Scenario = STORY) -> tuple[str, list[Sent]]:
    """A run that has ended, and all that its first reader was sent."""
    async with Answer.ask(server.port, "POST", "/api/stream", {"prompt": story.prompt}, **alice) as answer:
        sent = [event async for event in answer.events()]
    return sent[0].run, sent


def quoted(**fields: str) -> str:
    return urlencode(fields)
