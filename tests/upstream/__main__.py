"""`python -m tests.upstream --port 0`: the first line on stdout is the base URL."""

import argparse
import asyncio

import msgspec

from tests.upstream.process import new_event_loop, serve_until_told
from tests.upstream.script import Scenario
from tests.upstream.server import UpstreamServer


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.upstream", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--api-key")
    parser.add_argument("--scenario", default="{}", help="JSON of the default scenario")
    options = parser.parse_args()
    upstream = UpstreamServer(
        msgspec.json.decode(options.scenario, type=Scenario),
        api_key=options.api_key,
        host=options.host,
        port=options.port,
    )
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(serve_until_told(upstream))


main()
