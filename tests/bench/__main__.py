"""`python -m tests.bench`: all servers up at once, each workload by turns, one table."""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tests.bench import direct, procs, table, workloads
from tests.bench.job import Measured
from tests.bench.profile import Profile
from tests.bench.servers import ROOT, base_url, servers, start, start_upstream
from tests.bench.workloads import FULL, QUICK, WARM_UP, Results, Workload
from tests.rig.service import MissingService


@dataclass
class Bench:
    upstream: procs.Process
    server_core: int
    load_core: int
    folder: Path
    running: dict[str, list[procs.Process]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def start(self, keys: str, stack: contextlib.ExitStack) -> None:
        for key in keys:
            try:
                started = start(servers()[key], base_url(self.upstream), self.folder, self.server_core, stack)
            except procs.StartError as error:
                self.failed[key] = str(error)
                continue
            except MissingService as error:
                self.left_out[key] = str(error)
                continue
            self.running[key] = started
            self.measure(key, WARM_UP)

    def measure(self, key: str, workload: Workload) -> Measured | None:
        processes = self.running[key]
        ports, pids = [each.port for each in processes if each.port], [each.pid for each in processes]
        job = workload.job(ports, servers()[key].greets, pids, self.upstream.pid)
        client = subprocess.run(
            [sys.executable, "-m", "tests.bench.client"],
            input=msgspec.json.encode(job),
            capture_output=True,
            cwd=ROOT,
            check=False,
        )
        if client.returncode:
            words = client.stderr.decode(errors="replace").strip().splitlines()
            self.failed[key] = f"{workload.name}: {words[-1] if words else 'the client ended'}"[:200]
            return None
        return msgspec.json.decode(client.stdout, type=Measured)

    def run(self, workload: Workload) -> Results:
        """By turns (a b c d a b c d), so that a slow moment of the machine does not hit one server alone."""
        found: dict[str, list[Measured]] = {}
        for _ in range(workload.repeats):
            for key in workload.servers:
                if key in self.running and key not in self.failed and (measured := self.measure(key, workload)):
                    found.setdefault(key, []).append(measured)
        return Results(found)

    def profile(self, workload: Workload) -> Iterator[str]:
        for key, (process, *_) in self.running.items():
            sampler = Profile(process.pid, workload.seconds + 3, self.folder, self.load_core)
            self.measure(key, workload)
            yield f"\nProfile of ({key}) {servers()[key].label} under {workload.title}"
            yield from sampler.lines()


def main() -> int:
    options = arguments()
    chosen = [each for each in (QUICK if options.quick else FULL) if each.name in options.workload]
    # SIGTERM as well has to end the servers and remove their folders.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    server_core, load_core = procs.cores()
    os.sched_setaffinity(0, {load_core})
    results: dict[str, Results] = {}
    with contextlib.ExitStack() as stack:
        stack.enter_context(procs.only_bench())
        began = time.monotonic()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tokenwire-bench-")))
        upstream = start_upstream(folder, load_core)
        stack.callback(procs.stop, upstream)
        bench = Bench(upstream, server_core, load_core, folder)
        bench.start(options.only, stack)
        print(f"server on core {server_core}, client and upstream on core {load_core}, (e) on both; loopback")
        for key, why in bench.left_out.items():
            print(f"({key}) is left out: {why}")
        if options.profile:
            print(*bench.profile(next(each for each in FULL if each.name == "W1")), sep="\n")
            return 0
        own = direct.first_token_ms(base_url(upstream), workloads.WARM_UP.scenario)
        for workload in chosen:
            results[workload.name] = bench.run(workload)
            print(*table.workload_lines(workload, results[workload.name], bench.failed), sep="\n", flush=True)
    lines, good = table.target_lines(results, own)
    print(*lines, f"\n{time.monotonic() - began:.0f} s", sep="\n")
    return verdict(options, results, bench.failed, good)


def verdict(options: argparse.Namespace, results: dict[str, Results], failed: dict[str, str], good: bool) -> int:
    if options.json:
        found = {"failed": failed, "results": {name: result.by_server for name, result in results.items()}}
        Path(options.json).write_bytes(msgspec.json.encode(found))
    # A small load on a busy machine proves that all is whole, not how fast it is.
    lost = any(each.lost for result in results.values() for runs in result.by_server.values() for each in runs)
    return int(bool(failed) or (lost if options.quick else not good))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small load: does it all work, is nothing lost")
    parser.add_argument("--only", default="a,b,c,d,e", help="servers, such as b,d")
    parser.add_argument("--workload", default="W1,W2,W3,W4,W5,W6", help="such as W1,W3")
    parser.add_argument("--profile", action="store_true", help="sample the servers with py-spy under W1 instead")
    parser.add_argument("--json", help="also write the measurements to this file")
    options = parser.parse_args()
    options.only = options.only.replace(",", "")
    options.workload = options.workload.split(",")
    if unknown := set(options.only) - set(servers()):
        parser.error(f"unknown server: {', '.join(sorted(unknown))}")
    return options


if __name__ == "__main__":
    sys.exit(main())
