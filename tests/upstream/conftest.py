from collections.abc import Iterator

import pytest

from tests.upstream import (
    UpstreamServer,
    running_upstream,
)


@pytest.fixture(scope="module")
def shared() -> Iterator[UpstreamServer]:
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture
def up(shared: UpstreamServer) -> UpstreamServer:
    shared.wait(lambda stats: stats.active == 0)
    shared.ledger.reset()
    return shared
