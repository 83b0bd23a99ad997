import random
from pathlib import Path

import pytest

from tests.faults.killing import ENV, RUNS, survive_kills
from tests.servers import running_server
from tests.visitors import Visitor


@pytest.mark.slow
@pytest.mark.parametrize("kind, kills", [("uvicorn", 2), ("daphne", 1)])
async def test_after_kill_9_everybody_who_returns_holds_exactly_what_is_stored(
    kind: str, kills: int, tmp_path: Path, upstream: str
) -> None:
    with running_server(kind, tmp_path, upstream, **ENV) as server:
        visitor = Visitor(server.port).sign_up()
        outcome = await survive_kills(server, visitor, kills, random.Random())
        assert outcome.completed + outcome.given_up == RUNS
        assert outcome.restarted >= RUNS // 2
        if kills == 1:
            assert outcome.completed == RUNS
        assert outcome.connections >= RUNS * (1 + kills) - RUNS // 2
        assert "Traceback" not in server.log_text(), server.log_text()[-4000:]
