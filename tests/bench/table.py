"""The measurements as text."""

from collections.abc import Iterable
from statistics import median

from tests.bench.job import Measured
from tests.bench.servers import servers
from tests.bench.workloads import TARGETS, Results, Workload, cpu, first, p99, socket_kb, stretch

BUSY = 0.85
LATE = 1.02
STREAM_COLUMNS = ("us/chunk", "x (a)", "x (d)", "p50 ms", "p99 ms", "first ms", "slowest", "frames", "lost", "RSS MB")


def workload_lines(workload: Workload, results: Results, failed: dict[str, str]) -> list[str]:
    head = f"{workload.name}  {workload.title}" + (f" (median of {workload.repeats})" if workload.repeats > 1 else "")
    columns = STREAM_COLUMNS if workload.chunks else ("kB/socket", "RSS MB")
    if not results.by_server and not failed:
        return []
    lines = ["", head, f"    {'':<36}" + "".join(f"{name:>10}" for name in columns)]
    for key, server in servers().items():
        label = f"({key}) {server.label}"
        if key in failed:
            lines.append(f"  {label:<38}failed: {failed[key]}")
        elif measured := results.by_server.get(key):
            cells = _stream_cells(results, key, measured) if workload.chunks else _idle_cells(results, key, measured)
            lines.append(f"  {label:<38}" + "".join(f"{cell:>10}" for cell in cells))
    return lines + [f"  WARNING {warning}" for warning in _warnings(workload, results)]


def _stream_cells(results: Results, key: str, measured: list[Measured]) -> Iterable[str]:
    cost = median(map(cpu, measured))
    for_a, for_d = results.of("a", cpu), results.of("d", cpu)
    return (
        f"{cost:.1f}",
        f"{cost / for_a:.2f}" if for_a else "-",
        f"{cost / for_d:.2f}" if for_d else "-",
        f"{median(each.added_p50_ms for each in measured):.2f}",
        f"{median(map(p99, measured)):.2f}",
        f"{median(map(first, measured)):.1f}",
        f"{median(map(stretch, measured)):.3f}",
        f"{sum(each.frames for each in measured) / max(1, sum(each.chunks for each in measured)):.2f}",
        str(sum(len(each.lost) for each in measured)),
        f"{max(each.rss_mb for each in measured):.0f}",
    )


def _idle_cells(results: Results, key: str, measured: list[Measured]) -> Iterable[str]:
    return f"{median(map(socket_kb, measured)):.1f}", f"{max(each.rss_mb for each in measured):.0f}"


def _warnings(workload: Workload, results: Results) -> Iterable[str]:
    for key, measured in results.by_server.items():
        for each in measured:
            if each.load_core > BUSY:
                yield f"({key}) client and upstream used {each.load_core:.0%} of their core and may be the limit"
            if workload.seconds and each.upstream_s > workload.seconds * LATE:
                yield f"({key}) the upstream itself took {each.upstream_s / workload.seconds:.2f} x the time asked for"
            if each.lost:
                yield f"({key}) {len(each.lost)} streams lost something, for example: {each.lost[0]}"


def target_lines(results: dict[str, Results], own_first_ms: float) -> tuple[list[str], bool]:
    """One line per target that was measured, and whether all of them were reached."""
    lines, good = ["", f"Targets of Tokenwire on uvicorn (the upstream's own first token: {own_first_ms:.1f} ms)"], True
    for target in TARGETS:
        reached = target.reached(results[target.workload], own_first_ms) if target.workload in results else None
        if reached is None:
            continue
        good = good and reached <= target.limit
        verdict = "pass" if reached <= target.limit else "FAIL"
        value, limit = f"{reached:.2f} {target.unit}", f"at most {target.limit:g} {target.unit}"
        lines.append(f"  {verdict}  {target.workload}  {target.text:<54}{value:>12}  {limit}")
    lost = sum(len(each.lost) for result in results.values() for each in result.by_server.get("b", []))
    verdict = "FAIL" if lost else "pass"
    lines.append(f"  {verdict}  all streams of (b) whole and in order, sha256 checked: {lost} were not")
    return lines, good and not lost
