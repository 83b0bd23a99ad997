import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import pytest

from tests.bench.servers import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file: Path = tmp_path_factory.mktemp("bench") / "quick.json"
    command = [sys.executable, "-m", "tests.bench", "--quick", "--json", str(file)]
    bench = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    print(bench.stdout, bench.stderr)
    assert file.exists(), bench.stdout + bench.stderr
    found: dict[str, Any] = msgspec.json.decode(file.read_bytes())
    return found


def test_every_server_starts_and_relays_all_chunks_whole(quick: dict[str, Any]) -> None:
    assert quick["failed"] == {}
    assert set(quick["results"]["W1"]) == set("abcd")
    for measured in (each for result in quick["results"].values() for runs in result.values() for each in runs):
        assert measured["lost"] == []
    assert all(each["chunks"] == 20 * 300 for runs in quick["results"]["W1"].values() for each in runs)


def test_a_stored_chunk_costs_less_than_one_of_an_afternoons_consumer(quick: dict[str, Any]) -> None:
    cost = {key: median(each["cpu_us"] for each in runs) for key, runs in quick["results"]["W1"].items()}
    assert cost["b"] < 0.8 * cost["a"], cost
