"""SIGTERM and Ctrl-C: the process ends in time, and its runs go on in the next one."""

import asyncio
import json
import signal
import socket
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from tests.rawsocket import RawSocket
from tests.rig.survivor import Survivor
from tests.servers import KINDS, STOP_S, running_server
from tests.sseclient import Answer, StreamView
from tests.stored import Stored
from tests.tokens import give_token
from tests.upstream import Scenario, expected_text
from tests.visitors import Visitor
from tests.waiting import until
from tests.wsclient import Client

RUNS = 10
# One more than a crash would leave a run: a shutdown is no failure of an attempt.
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
async def test_runs_are_handed_back_and_go_on_after_every_restart(kind: str, tmp_path: Path, upstream: str) -> None:
    with running_server(kind, tmp_path, upstream) as server:
        stored, visitor = Stored(server.database), Visitor(server.port).sign_up()
        survivors = [
            Survivor(Scenario(seed=f"s{n}", chunks=150, rate=100).prompt, cookie=visitor.cookie, origin=server.origin)
            for n in range(RUNS)
        ]
        waiting = [asyncio.create_task(survivor.run([server.ws])) for survivor in survivors]
        for restarts, stop in enumerate(STOPS):
            await until(partial(_restarted, survivors, restarts), 20)
            begun = time.monotonic()
            assert await asyncio.to_thread(server.stop, stop) == 0
            assert time.monotonic() - begun < STOP_S
            assert stored.rows("SELECT DISTINCT status, lease_until FROM chat_run") == [("queued", None)]
            await asyncio.to_thread(server.start)
        views = await asyncio.gather(*waiting)
        for number, view in enumerate(views):
            survivors[number].check(stored)
            assert view.ended is not None
            assert view.ended["type"] == "run.completed"
            assert view.text == expected_text(f"s{number}", 150)
            assert (view.restarts, view.attempt) == (len(STOPS), len(STOPS) + 1)
        assert stored.sound()
        assert "Traceback" not in server.log_text(), server.log_text()[-4000:]


def _restarted(survivors: Sequence[Survivor], least: int) -> bool:
    return all(survivor.restarts >= least for survivor in survivors)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("kind", KINDS)
async def test_it_ends_at_once_with_sockets_that_idle_or_just_came(
    kind: str, number: signal.Signals, tmp_path: Path, upstream: str
) -> None:
    with running_server(kind, tmp_path, upstream) as server:
        async with Client.connect(server.ws) as idle:
            await idle.ask("ping")
            async with Client.connect(server.ws) as fresh:
                begun = time.monotonic()
                assert await asyncio.to_thread(server.stop, number) == 0
                assert time.monotonic() - begun < 5
                for client in (idle, fresh):
                    code = await client.closed()
                    # daphne has no goodbye: its connections just end.
                    assert code == 1012 if kind == "uvicorn" else code in {1000, 1001, 1006, None}
        assert "Traceback" not in server.log_text(), server.log_text()[-4000:]
        assert server.log_text().rstrip().endswith("Stopped.")


@pytest.mark.parametrize("kind", KINDS)
async def test_streams_end_at_once_and_go_on_after_the_restart(kind: str, tmp_path: Path, upstream: str) -> None:
    with running_server(kind, tmp_path, upstream) as server:
        user, stored = Visitor(server.port).sign_up(), Stored(server.database)
        alice = give_token(stored, user.name).headers
        story, silent = Scenario(seed="streams", chunks=100, rate=50), Scenario(seed="silent", first_token_delay=1000)
        async with (
            Answer.ask(server.port, "POST", "/api/stream", {"prompt": story.prompt}, **alice) as answer,
            Answer.ask(server.port, "POST", "/api/stream", {"prompt": silent.prompt}, **alice) as quiet,
            Answer.ask(server.port, "POST", "/api/text", {"prompt": silent.prompt}, **alice) as text,
        ):
            view, other = [StreamView((await each.accepted())["run"]) for each in (answer, quiet)]
            await answer.follow(view, until=20)
            server.send(signal.SIGTERM)
            async with asyncio.timeout(1):
                _, _, last_line = await asyncio.gather(answer.follow(view), quiet.follow(other), text.text())
            assert text.headers["x-run"] in last_line
        assert not view.over
        await until(lambda: not server.running(), STOP_S / 2)
        assert server.exit_code() == 0
        await asyncio.to_thread(server.start)
        async with Answer.ask(server.port, "GET", "/api/stream", **alice, Last_Event_ID=view.last_id) as answer:
            await answer.follow(view)
        assert (view.over, view.text, view.restarts) == (True, story.text, 1)
        assert "Traceback" not in server.log_text(), server.log_text()[-4000:]


async def test_a_client_that_reads_nothing_does_not_hold_uvicorn_up(tmp_path: Path, upstream: str) -> None:
    """daphne waits for nobody."""
    with running_server("uvicorn", tmp_path, upstream) as server:
        visitor = Visitor(server.port).sign_up()
        async with Client.connect(server.ws, cookie=visitor.cookie, origin=server.origin) as client:
            big = Scenario(seed="big", chunks=5, huge_chunk=3_000_000)
            run = (await client.prompt(big.prompt))["run"]
            await client.ended(run)
        with RawSocket(server.port, f"Cookie: {visitor.cookie}", f"Origin: {server.origin}") as deaf:
            deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            for _ in range(10):  # each has it sent anew: together more than the kernel takes
                deaf.send(json.dumps({"type": "run.follow", "run": run, "after": 0}).encode())
            seen = [0, 1]
            while seen[-1] != seen[-2]:
                await asyncio.sleep(0.3)
                seen.append(_unsent(server.port))
            assert seen[-1] > 0
            begun = time.monotonic()
            assert await asyncio.to_thread(server.stop) == 0
            assert time.monotonic() - begun < 5
        assert "Traceback" not in server.log_text(), server.log_text()[-4000:]


def _unsent(port: int) -> int:
    """Bytes that the kernel holds for those connected to a port of ours (proc(5), net/tcp)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(int(row[4].split(":")[0], 16) for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01")
