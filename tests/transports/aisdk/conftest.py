import os
from collections.abc import Iterator

import pytest

from tests.servers import ServerProcess
from tests.transports.aisdk.hooks import Hook, NoNode, find_node, installed
from tests.transports.conftest import Start

GENERATIONS = (3, 4, 5, 7)
GRACE_SECONDS = 0.5


@pytest.fixture(scope="session")
def hooks() -> Iterator[dict[int, Hook]]:
    try:
        node = find_node()
        installed(node)
    except NoNode as error:
        reason = f"no packages from npm: {error}"
        if os.environ.get("REQUIRE_SERVICES"):
            pytest.fail(reason)
        pytest.skip(reason)
    found = {generation: Hook(generation, node) for generation in GENERATIONS}
    yield found
    for hook in found.values():
        hook.close()


@pytest.fixture(params=GENERATIONS, ids=lambda generation: f"ai{generation}")
def hook(request: pytest.FixtureRequest, hooks: dict[int, Hook]) -> Hook:
    return hooks[request.param]


@pytest.fixture
def server(kind: str, start: Start) -> ServerProcess:
    return start(kind, CHAT_AISDK_GRACE=str(GRACE_SECONDS))
