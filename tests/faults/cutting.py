"""One run whose reader's connection is cut at a chosen frame, and who comes back."""

from collections.abc import Sequence
from contextlib import AsyncExitStack

from tests.faults.proxy import cutting_proxy
from tests.rig.survivor import Survivor
from tests.stored import Stored
from tests.upstream import Scenario, expected_text
from tests.visitors import Visitor

CHUNKS = 60
RATE = 100  # slow enough for a frame of its own for nearly every chunk
# hello, run.accepted, session.changed, run.started, the deltas and the end; the last few are past it all.
FRAMES = CHUNKS + 8


async def survive_cut(
    ports: Sequence[int], visitor: Visitor, stored: Stored, seed: str, frames: int, *, inside: bool
) -> int:
    """Cut at the first port, after `frames` frames or inside the next one; back to the last. How often it was cut."""
    prompt = Scenario(seed=seed, chunks=CHUNKS, rate=RATE).prompt
    survivor = Survivor(prompt, cookie=visitor.cookie, origin=f"http://127.0.0.1:{visitor.port}")
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(cutting_proxy(ports[0], frames, 1 + frames % 9 if inside else 0))
        view = await survivor.run([proxy.ws, f"ws://127.0.0.1:{ports[-1]}/ws/chat/"])
    assert view.text == expected_text(seed, CHUNKS)
    survivor.check(stored)
    return proxy.cuts
