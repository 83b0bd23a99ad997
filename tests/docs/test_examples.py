"""The programs in examples/ are run, against one real server process and through a network that is cut."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, read, rows
from tests.rig.wire import wire
from tests.servers import ServerProcess, running_server
from tests.stored import Stored
from tests.tokens import Token, give_token
from tests.upstream import Scenario, running_upstream
from tests.visitors import Visitor
from tests.waiting import until

EXAMPLES = ROOT / "examples"
STORY = Scenario(seed="example", chunks=60, rate=60)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with (
        running_upstream(STORY) as upstream,
        running_server("uvicorn", tmp_path_factory.mktemp("examples"), upstream.base_url) as server,
    ):
        yield server


@pytest.fixture
def token(server: ServerProcess) -> Token:
    return give_token(Stored(server.database), Visitor(server.port).sign_up().name)


def environment(port: int, token: Token) -> dict[str, str]:
    return {**os.environ, "TOKENWIRE": f"http://127.0.0.1:{port}", "TOKEN": token.secret, "NO_PROXY": "127.0.0.1"}


async def test_the_websocket_client_takes_up_a_connection_that_is_cut(
    server: ServerProcess, token: Token, tmp_path: Path
) -> None:
    stored = Stored(server.database)
    before = stored.counts()["chat_run"]
    printed = tmp_path / "printed"
    with wire(server.port) as network, printed.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(EXAMPLES / "websocket.py"), "Tell", "me"),
            env=environment(network.port, token),
            stdout=out,
            stderr=asyncio.subprocess.PIPE,
        )
        await until(lambda: printed.stat().st_size > 40, 15)
        network.cut()
        async with asyncio.timeout(15):
            _, complaints = await process.communicate()
    assert (complaints, process.returncode) == (b"", 0)
    assert printed.read_text() == f"{STORY.text}\n[run.completed]\n"
    assert stored.counts()["chat_run"] == before + 1


def test_the_curl_lines(server: ServerProcess, token: Token) -> None:
    stored = Stored(server.database)
    before = stored.counts()["chat_run"]
    ended = subprocess.run(
        [str(EXAMPLES / "curl.sh"), "Hello"],
        env=environment(server.port, token),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.count("event: run.completed") == 3
    assert ended.stdout.count("event: run.started") == 2
    assert ended.stdout.endswith(f'{{"type": "ok"}}\n{STORY.text}')
    assert stored.counts()["chat_run"] == before + 1


def test_the_page_names_every_example_and_they_are_short() -> None:
    told = {cells[0].strip("`") for cells in rows(read("examples/README.md"))}
    files = {path.name for path in EXAMPLES.iterdir() if path.is_file()} - {"README.md"}
    assert told == files
    for name in files:
        lines = [line for line in (EXAMPLES / name).read_text().splitlines() if line.strip()]
        assert len(lines) <= 30, name
