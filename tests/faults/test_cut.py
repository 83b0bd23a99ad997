import asyncio
from collections.abc import Iterator

import pytest

from tests.faults.cutting import CHUNKS, FRAMES, survive_cut
from tests.servers import KINDS, ServerProcess, running_server
from tests.stored import Stored
from tests.visitors import Visitor

AT_ONCE = 16


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
        async with turns:
            return await survive_cut([server.port], visitor, stored, f"{inside}/{frames}", frames, inside=inside)

    cuts = await asyncio.gather(*(cut(frames) for frames in range(FRAMES)))
    assert sum(cuts) >= CHUNKS // 2
    # A reply that was lost was asked for again, under the same id.
    assert stored.value("SELECT count(*) FROM chat_run WHERE requester LIKE 'user:%'") == stored.value(
        "SELECT count(DISTINCT idempotency_key) FROM chat_run"
    )
