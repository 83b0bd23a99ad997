"""Whatever users, processes and the model do, in whatever order: the promises hold."""

import logging

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.runs.helpers import times
from tests.runs.machine import ChatMachine


def test_random_lives_of_runs_keep_every_promise(transactional_db: None, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "chat")
    before = ChatMachine.sequences
    run_state_machine_as_test(
        ChatMachine,
        settings=settings(
            max_examples=times(200, 5_000),
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert ChatMachine.sequences - before >= times(200, 5_000)
