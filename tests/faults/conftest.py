from collections.abc import Iterator

import pytest

from tests.upstream import upstream_process


@pytest.fixture(scope="session")
def upstream() -> Iterator[str]:
    with upstream_process() as base_url:
        yield base_url
