"""What is asked of the servers, and what (b) and (e) have to reach."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from tests.bench.job import Job, Measured
from tests.bench.readings import SEED
from tests.upstream import Scenario

WAIT_S = 45.0


@dataclass(frozen=True)
class Workload:
    name: str
    title: str
    sockets: int
    servers: str  # which of them run it
    repeats: int = 1
    chunks: int = 0
    rate: float = 0.0
    rounds: int = 1
    spread_s: float = 0.0

    @property
    def scenario(self) -> Scenario:
        return Scenario(seed=SEED, chunks=self.chunks, rate=self.rate, stamp=True)

    @property
    def seconds(self) -> float:
        """What the upstream takes over one stream."""
        return (self.chunks - 1) / self.rate if self.rate else 0.0

    def job(self, ports: list[int], greets: bool, server_pids: list[int], upstream_pid: int) -> Job:
        return Job(
            ports=ports,
            path="/ws/chat/",
            greets=greets,
            server_pids=server_pids,
            upstream_pid=upstream_pid,
            sockets=self.sockets,
            prompt=self.scenario.prompt,
            chunks=self.chunks,
            rounds=self.rounds,
            spread_s=self.spread_s,
            timeout_s=self.seconds * 2 + WAIT_S,
        )


WARM_UP = Workload("warm-up", "what is only paid once", 5, "abcde", chunks=20, rate=50)

# W5 comes first: memory that an earlier load left free would hide what a socket takes.
FULL = (
    Workload("W5", "1,000 idle sockets", 1000, "abcd"),
    Workload("W4", "one stream, 20 times", 1, "abcd", chunks=20, rate=100, rounds=20),
    Workload("W2", "100 prompts at one instant", 100, "abcd", 3, chunks=20, rate=20),
    Workload("W1", "100 streams x 300 chunks at 50/s", 100, "abcd", 5, chunks=300, rate=50, spread_s=1),
    Workload("W3", "400 streams x 200 chunks at 20/s", 400, "abcd", chunks=200, rate=20, spread_s=1),
    Workload("W6", "100 streams x 200 chunks at 20/s", 100, "be", 3, chunks=200, rate=20, spread_s=1),
)
QUICK = (
    Workload("W5", "100 idle sockets", 100, "b"),
    Workload("W4", "one stream, 5 times", 1, "b", chunks=10, rate=100, rounds=5),
    Workload("W2", "20 prompts at one instant", 20, "b", chunks=5, rate=20),
    # As many chunks per prompt as in the full W1: the share of starting a run in the cost of a chunk stays the same.
    Workload("W1", "20 streams x 300 chunks at 100/s", 20, "abcd", chunks=300, rate=100, spread_s=0.5),
    Workload("W6", "10 streams x 100 chunks at 20/s", 10, "be", chunks=100, rate=20, spread_s=0.5),
)


@dataclass(frozen=True)
class Results:
    """Of one workload: the measurements of each server that ran it, medians on demand."""

    by_server: dict[str, list[Measured]]

    def of(self, key: str, value: Callable[[Measured], float]) -> float | None:
        measured = self.by_server.get(key)
        return median(map(value, measured)) if measured else None

    def ratio(self, other: str, of: str = "b") -> float | None:
        ours, theirs = self.of(of, cpu), self.of(other, cpu)
        return ours / theirs if ours and theirs else None


def cpu(measured: Measured) -> float:
    return measured.cpu_us


def p50(measured: Measured) -> float:
    return measured.added_p50_ms


def p99(measured: Measured) -> float:
    return measured.added_p99_ms


def first(measured: Measured) -> float:
    return median(measured.first_ms) if measured.first_ms else float("inf")


def stretch(measured: Measured) -> float:
    return measured.stretch


def socket_kb(measured: Measured) -> float:
    return measured.socket_kb


def added_first(results: Results, own: float) -> float | None:
    ours = results.of("b", first)
    return None if ours is None else ours - own


@dataclass(frozen=True)
class Target:
    workload: str
    text: str
    limit: float
    unit: str
    reached: Callable[[Results, float], float | None]  # from the results and the upstream's own first token


TARGETS = (
    Target("W1", "CPU per chunk of (b) / (a)", 0.42, "x", lambda results, _: results.ratio("a")),
    Target("W1", "CPU per chunk of (b) / (d)", 3.0, "x", lambda results, _: results.ratio("d")),
    Target("W1", "latency added by (b), p99", 25, "ms", lambda results, _: results.of("b", p99)),
    Target("W2", "first token of (b), p50", 600, "ms", lambda results, _: results.of("b", first)),
    Target("W3", "slowest stream of (b) / at the upstream", 1.05, "x", lambda results, _: results.of("b", stretch)),
    Target("W3", "latency added by (b), p99", 250, "ms", lambda results, _: results.of("b", p99)),
    Target("W4", "first token of (b) after the upstream's own, p50", 8, "ms", added_first),
    Target("W6", "CPU per chunk of (e) / (b)", 2.5, "x", lambda results, _: results.ratio("b", of="e")),
    Target("W6", "latency added by (e), p50", 15, "ms", lambda results, _: results.of("e", p50)),
    Target("W6", "latency added by (e), p99", 80, "ms", lambda results, _: results.of("e", p99)),
    Target("W5", "memory per idle socket of (b)", 30, "kB", lambda results, _: results.of("b", socket_kb)),
)
