from collections.abc import Iterator

import pytest

from tests.packages import installed_or_skipped
from tests.transports.aisdk.hooks import PROJECT, Hook

GENERATIONS = (3, 4, 5, 7)
GRACE_SECONDS = 0.5  # of the server in the conftest.py above


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
