import asyncio
from collections.abc import Iterator

import pytest

from tests.faults.proxy import cutting_proxy
from tests.rig.survivor import Survivor
from tests.servers import KINDS, ServerProcess, running_server
from tests.stored import Stored
from tests.upstream import Scenario, expected_text
from tests.visitors import Visitor

CHUNKS = 60
AT_ONCE = 16
RATE = 100  # slow enough for a frame of its own for nearly every chunk


@pytest.fixture(params=KINDS, scope="module")
def server(
    request: pytest.FixtureRequest, upstream: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    with running_server(request.param, tmp_path_factory.mktemp("cut"), upstream) as server:
        yield server


@pytest.mark.slow
@pytest.mark.parametrize("inside", [False, True])
async def test_a_cut_at_any_frame_loses_and_repeats_nothing(server: ServerProcess, inside: bool) -> None:
    stored, visitor = Stored(server.database), Visitor(server.port).sign_up()
    turns = asyncio.Semaphore(AT_ONCE)

    async def cut(frames: int) -> int:
        seed = f"{inside}/{frames}"
        prompt = Scenario(seed=seed, chunks=CHUNKS, rate=RATE).prompt
        survivor = Survivor(prompt, cookie=visitor.cookie, origin=server.origin)
        async with turns, cutting_proxy(server.port, frames, 1 + frames % 9 if inside else 0) as proxy:
            view = await survivor.run([proxy.ws, server.ws])
        assert view.text == expected_text(seed, CHUNKS)
        survivor.check(stored)
        return proxy.cuts

    # hello, run.accepted, session.changed, run.started, the deltas and the end; the last few are past it all.
    cuts = await asyncio.gather(*(cut(frames) for frames in range(CHUNKS + 8)))
    assert sum(cuts) >= CHUNKS // 2
    # A reply that was lost was asked for again, under the same id.
    assert stored.value("SELECT count(*) FROM chat_run WHERE requester LIKE 'user:%'") == stored.value(
        "SELECT count(DISTINCT idempotency_key) FROM chat_run"
    )
