"""Every test that takes `server` runs against both servers, as processes that live as long as the test session."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack

import pytest
import pytest_asyncio

from tests.servers import KINDS, ServerProcess, running_server
from tests.stored import Stored
from tests.tokens import forget_older
from tests.transports.people import People
from tests.upstream import upstream_process
from tests.wsclient import Client

Start = Callable[..., ServerProcess]

STRICT = {
    "CHAT_GUESTS": "off",
    "CHAT_AUTO_TITLE": "on",
    "CHAT_OPERATIONS_PER_SECOND": "10",
    "CHAT_SOCKETS_PER_USER": "3",
    "CHAT_RUNS_PER_USER": "2",
    "CHAT_PROMPTS_PER_MINUTE": "5",
    "CHAT_RECHECK_SECONDS": "1",
}


@pytest.fixture(scope="session")
def upstream() -> Iterator[str]:
    with upstream_process() as base_url:
        yield base_url


@pytest.fixture(scope="session")
def start(upstream: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start a server, or find the one that was started with the same settings."""
    running: dict[tuple[str, ...], ServerProcess] = {}
    with ExitStack() as stack:

        def find(kind: str, **env: str) -> ServerProcess:
            key = (kind, *(f"{name}={value}" for name, value in sorted(env.items())))
            if key not in running:
                folder = tmp_path_factory.mktemp(kind)
                running[key] = stack.enter_context(running_server(kind, folder, upstream, **env))
            return running[key]

        yield find
        # Whatever was thrown at them, they live, and none of it made them stumble.
        for server in running.values():
            assert server.process is not None
            assert server.process.poll() is None, server.log_text()[-3000:]
            assert "Traceback" not in server.log_text(), server.log_text()[-6000:]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(kind: str, start: Start) -> ServerProcess:
    return start(kind, CHAT_ACK_TIMEOUT="1", CHAT_CORS_ORIGINS="https://app.example", CHAT_AISDK_GRACE="0.5")


@pytest.fixture
def strict(kind: str, start: Start) -> ServerProcess:
    return start(kind, **STRICT)


@pytest.fixture
def stored(server: ServerProcess) -> Stored:
    return Stored(server.database)


@pytest.fixture
def people(server: ServerProcess, stored: Stored) -> People:
    people = People.of(server)
    for user in (people.alice, people.bob):
        forget_older(stored, user.name)
    return people


@pytest_asyncio.fixture
async def client(server: ServerProcess) -> AsyncIterator[Client]:
    """A guest without a cookie: the program of the ten-second client."""
    async with Client.connect(server.ws) as client:
        yield client
