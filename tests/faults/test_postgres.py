"""Postgres restarts, dies, throws everybody out or is full: streams go on, pages say 503, nothing is lost or twice."""

import asyncio
import time
import uuid
from collections.abc import Iterator

import pytest
from websockets.exceptions import InvalidStatus

from tests.faults import outages
from tests.faults.outages import Load
from tests.rig import Deployment, OwnPostgres, OwnRedis, deployment, wire
from tests.wsclient import Client

AT_ONCE_S = 1.5  # an operation's answer while nothing answers


@pytest.fixture(scope="module")
def whole(own_postgres: OwnPostgres, own_redis: OwnRedis, upstream: str) -> Iterator[Deployment]:
    with deployment(upstream, postgres=own_postgres, redis=own_redis) as whole:
        yield whole


@pytest.mark.slow
async def test_a_restart_costs_a_moment(whole: Deployment) -> None:
    outcome = await outages.restarted(whole, whole.visitor(), Load())
    assert outcome.attempts == {1}


@pytest.mark.slow
async def test_kill_9_and_five_seconds_without_it(whole: Deployment) -> None:
    outcome = await outages.killed(whole, whole.visitor(), Load())
    assert outcome.statuses[503] > 10
    # Longer than the leases are (4 s), and yet nobody's runs were taken over.
    assert outcome.attempts == {1}


@pytest.mark.slow
async def test_every_connection_is_ended_each_second(whole: Deployment) -> None:
    outcome = await outages.terminated(whole, whole.visitor(), Load())
    assert outcome.attempts == {1}


@pytest.mark.slow
async def test_somebody_else_takes_every_connection(whole: Deployment) -> None:
    outcome = await outages.crowded_out(whole, whole.visitor(), Load())
    assert outcome.statuses[503] > 0


@pytest.mark.slow
async def test_replies_to_commits_are_lost(own_postgres: OwnPostgres, own_redis: OwnRedis, upstream: str) -> None:
    with wire(own_postgres.port) as proxy:
        url = own_postgres.url_at(proxy.port)
        with deployment(upstream, webs=1, workers=1, postgres=own_postgres, redis=own_redis, database_url=url) as whole:
            assert await outages.replies_lost(whole, whole.visitor(), proxy, Load(), prompts=12) >= outages.LEAST


@pytest.mark.slow
async def test_every_operation_of_an_open_socket_is_answered_at_once(whole: Deployment) -> None:
    visitor, web = whole.visitor(), whole.webs[0]
    one = str(uuid.uuid4())
    async with Client.connect(web.ws, cookie=visitor.cookie, origin=web.origin) as client:
        await asyncio.to_thread(whole.postgres.kill)
        try:
            for operation, fields in OPERATIONS.items():
                begun = time.monotonic()
                error = await client.ask(operation, **{name: value or one for name, value in fields.items()})
                assert (error["type"], error["code"], error["retryable"]) == ("error", "unavailable", True), operation
                assert time.monotonic() - begun < AT_ONCE_S, operation
            assert (await client.ask("ping"))["type"] == "pong"
            with pytest.raises(InvalidStatus) as refused:
                async with Client.connect(web.ws, cookie=visitor.cookie, origin=web.origin):
                    raise AssertionError("it was let in")
            assert refused.value.response.status_code == 503
            assert refused.value.response.headers["Retry-After"] == "2"
        finally:
            await asyncio.to_thread(whole.postgres.start)
        async with asyncio.timeout(outages.RECOVERY_S):
            while (reply := await client.ask("prompt.send", text="still here", id="kept"))["type"] == "error":
                assert reply["code"] == "unavailable"
                await asyncio.sleep(0.1)
        assert (await client.ended(reply["run"])).ended is not None


# None: an id that nobody has.
OPERATIONS: dict[str, dict[str, str | None]] = {
    "prompt.send": {"text": "is anybody there?"},
    "message.regenerate": {"message": None},
    "run.follow": {"run": None},
    "run.unfollow": {"run": None},
    "run.stop": {"run": None},
    "session.open": {"session": None},
    "session.close": {"session": None},
    "branch.select": {"session": None, "message": None},
}
