"""kill -9 of the real server at random moments, on both servers; each kill with ten runs streaming."""

import asyncio
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.chaos.table import Row
from tests.faults.killing import ENV, RUNS, survive_kills
from tests.servers import KINDS, running_server
from tests.upstream import upstream_process
from tests.visitors import Visitor

KILLS = 20
TWICE_EVERY = 5  # this many rounds; the second kill uses up the last attempt


def run() -> list[Row]:
    with upstream_process() as upstream:
        return [asyncio.run(kill_for_long(kind, upstream)) for kind in KINDS]


async def kill_for_long(kind: str, upstream: str, kills: int = KILLS) -> Row:
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    begun, tried, survived, rounds, restarted = time.monotonic(), 0, 0, 0, 0
    with (
        tempfile.TemporaryDirectory(prefix="tokenwire-chaos-") as folder,
        running_server(kind, Path(folder), upstream, **ENV) as server,
    ):
        visitor = Visitor(server.port).sign_up()
        while tried < kills:
            rounds += 1
            now = min(2 if rounds % TWICE_EVERY == 0 else 1, kills - tried)
            tried += now
            try:
                restarted += (await survive_kills(server, visitor, now, rng)).restarted
                survived += now
            except Exception:
                traceback.print_exc()
                print(f"{kind}, seed {seed}, round {rounds}: {server.log_text()[-4000:]}", file=sys.stderr)
            print(f"  {kind}: {survived} of {tried} kills survived", file=sys.stderr, flush=True)
    name = f"kill -9 of {kind}, {RUNS} runs streaming ({restarted} taken over)"
    return Row(name, tried, survived, time.monotonic() - begun)
