"""A deploy under load: processes of an old and of a new version side by side, and every one replaced in turn."""

import json
import random
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest
from channels_redis.pubsub import RedisPubSubChannelLayer

from chat.transports.hub import GROUP
from tests.faults import process_faults as faults
from tests.faults.races import two_tabs
from tests.rig import Deployment, OwnPostgres, OwnRedis, audit, deployment, stream
from tests.upstream import Scenario, expected_text

TABLES = ("chat_chatsession", "chat_message", "chat_run", "chat_runevent")


@pytest.fixture(scope="module")
def whole(own_postgres: OwnPostgres, own_redis: OwnRedis, upstream: str) -> Iterator[Deployment]:
    # The lease is the default one: a machine that is busy with a start must not seem dead.
    with deployment(upstream, postgres=own_postgres, redis=own_redis, CHAT_LEASE_SECONDS="10") as whole:
        yield whole


@pytest.mark.slow
async def test_a_deploy_during_100_streams_loses_and_repeats_nothing(whole: Deployment) -> None:
    await faults.roll(whole, whole.visitor())


@contextmanager
def newer_schema(whole: Deployment) -> Iterator[None]:
    """What the migrations of a newer version may do while this one runs: columns that it does not know."""
    name = f"newer_{secrets.token_hex(3)}"
    for table in TABLES:
        whole.postgres.execute(f"ALTER TABLE {table} ADD COLUMN {name} varchar(20) NOT NULL DEFAULT 'x'")
    try:
        yield
    finally:
        for table in TABLES:
            whole.postgres.execute(f"ALTER TABLE {table} DROP COLUMN {name}")


@pytest.mark.slow
async def test_a_newer_schema_disturbs_nothing(whole: Deployment) -> None:
    """Neither the streams under way nor what begins with it, nor those that see it go again."""
    visitor = whole.visitor()
    async with stream(whole.urls(), visitor, runs=4, tabs=2, chunks=60) as before:
        with newer_schema(whole):
            async with stream(whole.urls(), visitor, runs=4, tabs=2, chunks=60) as after:
                pass
    audit(whole, [*before, *after])
    assert faults.outages([*before, *after]) == []


async def test_hints_and_notices_of_another_version_are_passed_over(whole: Deployment) -> None:
    layer = RedisPubSubChannelLayer(hosts=[whole.redis.url])
    async with two_tabs(whole, whole.visitor()) as (one, other):
        first = await one.prompt(Scenario(seed="first", chunks=2).prompt)
        await one.ended(first["run"])
        await other.ask("session.open", session=first["session"])
        accepted = await one.prompt(Scenario(seed="hints", chunks=60, rate=40).prompt, session=first["session"])
        view = one.view(accepted["run"])
        while view.seq < 5:
            await one.read()
        with whole.redis.client() as redis:
            for hint in (b"\xc1", b"", msgspec.msgpack.encode({"run": 1}), _hint(view.seq + 1)):
                redis.publish(f"chat.run.{view.run}", hint)
        unknown = {"type": "weather.changed", "sky": "clear"}
        known = {"type": "run.queued", "why": "a field of a newer version"}
        for content in (json.dumps([unknown, known]), "no JSON", json.dumps({"a": "dict"})):
            await layer.group_send(GROUP, {"type": "chat.notices", "json": content})
        for tab in (one, other):  # the other one was told of the run by a notice
            assert (await tab.ended(view.run)).text == expected_text("hints", 60)
    await layer.flush()
    audit(whole, [])
    log = whole.log_text()
    assert "of another version" in log
    assert "Traceback" not in log, log[-6000:]


def _hint(seq: int) -> bytes:
    """A hint of a version that says more: of an event that is not in the log, far ahead of it."""
    return msgspec.msgpack.encode(
        ["newer", [(seq + random.randint(10_000, 20_000), "weather.changed", "{}")], {"v": 2}]
    )
