"""The log on a real Postgres: deletions beside appends leave nothing behind, and several folders don't fight."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.services import log_scenes
from tests.services.conftest import fresh_database
from tests.services.postgres import begin, on_postgres, result

MANY = 100_000


@pytest.fixture(scope="module")
def log_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with fresh_database() as url:
        on_postgres(url, tmp_path_factory.mktemp("log"), log_scenes.prepare)
        yield url


@pytest.mark.parametrize(
    "scene, expected",
    [
        (log_scenes.append_between_the_two_deletes, {"appended": True, "orphans": 0}),
        (log_scenes.delete_beside_an_open_append, {"runs": 0, "orphans": 0}),
        (log_scenes.append_beside_an_open_delete, {"lost": True, "orphans": 0}),
    ],
)
def test_a_deletion_beside_an_append_leaves_no_event_behind(
    log_url: str, tmp_path: Path, scene: Any, expected: dict[str, Any]
) -> None:
    assert on_postgres(log_url, tmp_path, scene) == expected


def test_appends_that_race_deletions_leave_no_event_behind(log_url: str, tmp_path: Path) -> None:
    told = on_postgres(log_url, tmp_path, log_scenes.appends_that_race_deletes, "60")
    assert told == {"appended": True, "orphans": 0, "events": 0}


def test_an_owners_deletion_ends_the_run_behind_its_last_event(log_url: str, tmp_path: Path) -> None:
    told = on_postgres(log_url, tmp_path, log_scenes.owners_deletes_that_race_appends, "30")
    assert told == {"in_order": 30, "orphans": 0, "events": 0}


def test_lists_and_sums_are_those_of_the_other_database(log_url: str, tmp_path: Path) -> None:
    assert on_postgres(log_url, tmp_path, log_scenes.page_through, "10") == {"whole": True, "runs": 10, "tokens": 30}


def test_two_processes_fold_every_run_once(log_url: str, tmp_path: Path) -> None:
    runs = 120
    on_postgres(log_url, tmp_path, log_scenes.make_many_ended, str(runs))
    folding = [begin(log_url, tmp_path, log_scenes.fold_all) for _ in range(2)]
    done = [result(process) for process in folding]
    assert sum(each["runs"] for each in done) == runs
    assert sum(each["kept"] for each in done) == 0
    assert on_postgres(log_url, tmp_path, log_scenes.left) == {"due": 0, "folded": runs, "events": runs, "ends": runs}


def test_what_another_process_folds_just_now_is_left_out(log_url: str, tmp_path: Path) -> None:
    told = on_postgres(log_url, tmp_path, log_scenes.fold_what_another_process_folds)
    assert told == {"folded": {"runs": 1, "kept": 0, "events": 6, "missed": 1}, "left": [7, 1]}


def test_a_folder_gives_way_to_a_deletion(log_url: str, tmp_path: Path) -> None:
    told = on_postgres(log_url, tmp_path, log_scenes.fold_beside_an_open_delete)
    assert told == {"told": ["LockNotAvailable within 0 s"], "runs": 0, "orphans": 0}


def test_among_many_ended_runs_those_that_are_due_are_found_by_their_index(log_url: str, tmp_path: Path) -> None:
    told = on_postgres(log_url, tmp_path, log_scenes.look_among_many, str(MANY))
    print(f"nothing due among {MANY}: {told['milliseconds']:.2f} ms")
    assert "run_to_fold" in told["plan"]
    assert told["milliseconds"] < 5
