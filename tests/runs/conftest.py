from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
from pytest_django.fixtures import Settings

from chat.eventlog import Bus
from chat.runs import duties
from chat.runs.engine import Engine
from tests.fakes import ScriptedProvider

MakeEngine = Callable[..., Awaitable[Engine]]


@pytest.fixture(autouse=True)
def plain(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """No titles and no limits but where a test is about them; a tick that tests need not wait a second for."""
    settings.CHAT_AUTO_TITLE = False
    settings.CHAT_PROMPTS_PER_MINUTE = 1_000_000
    settings.CHAT_RUNS_PER_USER = 1_000_000
    monkeypatch.setattr(duties, "TICK", 0.05)


@pytest_asyncio.fixture
async def make_engine(transactional_db: None, provider: ScriptedProvider) -> AsyncIterator[MakeEngine]:
    """More engines on the one database, as if they were other processes. `worker=False`: takes over nothing."""
    made: list[Engine] = []

    async def make(bus: Bus | None = None, *, worker: bool = True, provider: ScriptedProvider = provider) -> Engine:
        engine = Engine(provider, worker=worker)
        if bus is not None:
            engine.bus = bus
            engine.writer._published = bus.publish
        await engine.open()
        made.append(engine)
        return engine

    yield make
    for engine in made:
        if engine.writer._thread.is_alive():
            await engine.close()
