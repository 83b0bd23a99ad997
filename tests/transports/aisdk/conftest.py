from collections.abc import Iterator

import pytest

from tests.packages import installed_or_skipped
from tests.servers import ServerProcess
from tests.transports.aisdk.hooks import PROJECT, Hook
from tests.transports.conftest import Start

GENERATIONS = (3, 4, 5, 7)
GRACE_SECONDS = 0.5


@pytest.fixture(scope="session")
def hooks() -> Iterator[dict[int, Hook]]:
    node, home = installed_or_skipped(PROJECT)
    found = {generation: Hook(generation, node, home) for generation in GENERATIONS}
    yield found
    for hook in found.values():
        hook.close()


@pytest.fixture(params=GENERATIONS, ids=lambda generation: f"ai{generation}")
def hook(request: pytest.FixtureRequest, hooks: dict[int, Hook]) -> Hook:
    return hooks[request.param]


@pytest.fixture
def server(kind: str, start: Start) -> ServerProcess:
    return start(kind, CHAT_AISDK_GRACE=str(GRACE_SECONDS))
