"""What the README shows is run: its client and its command, against one real server process."""

import http.client
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chat.management.commands.ask import Command
from tests.docs.pages import ROOT, blocks, read, section
from tests.servers import ServerProcess, running_server
from tests.upstream import Scenario, expected_text, running_upstream

PAGE = read("README.md")
ADDRESS = "127.0.0.1:8000"
ANSWER = expected_text("readme", 30)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with (
        running_upstream(Scenario(seed="readme", chunks=30)) as upstream,
        running_server("daphne", tmp_path_factory.mktemp("readme"), upstream.base_url) as server,
    ):
        yield server


def run(server: ServerProcess, *command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=cwd, env=server.env, capture_output=True, text=True, timeout=30, check=False
    )


def test_the_client_in_ten_seconds_works_as_it_is_printed(server: ServerProcess, tmp_path: Path) -> None:
    (client,) = blocks(section(PAGE, "A client in ten seconds"), "python")
    assert client.count(ADDRESS) == 1
    assert "/ws/chat/" in client
    (tmp_path / "hello.py").write_text(client.replace(ADDRESS, f"127.0.0.1:{server.port}"))
    ended = run(server, "hello.py", cwd=tmp_path)
    assert ended.stderr == ""
    assert ended.stdout == f"{ANSWER}\n[run.completed]\n"


def test_curl_works_as_it_is_printed(server: ServerProcess) -> None:
    (command,) = [line for block in blocks(PAGE, "sh") for line in block.splitlines() if line.startswith("curl -N ")]
    curl = shlex.split(command.replace(ADDRESS, f"127.0.0.1:{server.port}"))
    ended = subprocess.run([*curl, "-sS"], env=server.env, capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stderr, ended.stdout) == (0, "", ANSWER)


def test_ask_works_as_it_is_printed(server: ServerProcess) -> None:
    (command,) = [line for block in blocks(PAGE, "sh") for line in block.splitlines() if "manage.py ask" in line]
    python, *arguments = command.replace('"', "").split()
    assert python == ".venv/bin/python"
    ended = run(server, *arguments)
    assert (ended.returncode, ended.stderr, ended.stdout) == (0, "", f"{ANSWER}\n")


def test_a_program_signs_in_as_it_is_printed(server: ServerProcess) -> None:
    (block,) = [block for block in blocks(PAGE, "sh") if "apitoken" in block]
    make, ask = block.splitlines()
    command = re.fullmatch(r"TOKEN=\$\(\.venv/bin/python (.+)\)", make)
    asked = re.fullmatch(r'curl -H "Authorization: Bearer \$TOKEN" http://127\.0\.0\.1:8000(/\S+)', ask)
    assert command
    assert asked
    made = run(server, *command[1].split())
    assert (made.returncode, made.stderr) == (0, "")
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("GET", asked[1], headers={"Authorization": f"Bearer {made.stdout.strip()}"})
    with connection.getresponse() as response:
        assert (response.status, set(json.loads(response.read()))) == (200, {"sessions", "next"})
    connection.close()


def test_the_options_of_ask_are_those_of_the_command() -> None:
    told = Command().create_parser("manage.py", "ask").format_help()
    for option in ("--session", "--model", "--user", "--json"):
        assert f"`{option}`" in PAGE
        assert option in told
