"""The one engine of a process, as `manage.py chatworker` makes it."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from chat.runs import process
from chat.runs.engine import Engine
from tests.fakes import ScriptedProvider


class SlowToLoad(ScriptedProvider):
    loaded = False

    async def warm(self) -> None:
        self.loaded = True


@pytest_asyncio.fixture
async def provider(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SlowToLoad]:
    provider = SlowToLoad()
    monkeypatch.setattr(process, "provider", lambda: provider)
    yield provider
    await process.close()


async def test_a_worker_takes_no_run_before_it_can_execute_one(
    provider: SlowToLoad, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[bool] = []
    really_open = Engine.open

    async def open_(engine: Engine) -> None:
        loaded.append(provider.loaded)
        await really_open(engine)

    monkeypatch.setattr(Engine, "open", open_)
    engine = await process.engine(runs=3)
    assert loaded == [True]
    assert engine.capacity == 3
    assert await process.engine() is engine
