"""An OpenAI-compatible upstream for tests, faults and benchmarks: real TCP, known text, faults on request."""

from tests.upstream.process import closed_port, running_upstream, upstream_process
from tests.upstream.script import Scenario, ToolCall
from tests.upstream.server import UpstreamServer
from tests.upstream.stats import Abort, Stats
from tests.upstream.text import answer, expected_text, split_stamps

__all__ = [
    "Abort",
    "Scenario",
    "Stats",
    "ToolCall",
    "UpstreamServer",
    "answer",
    "closed_port",
    "expected_text",
    "running_upstream",
    "split_stamps",
    "upstream_process",
]
