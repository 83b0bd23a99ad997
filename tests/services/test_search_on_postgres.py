"""Search on a real Postgres finds what it finds on SQLite, and asks its index for what is one's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runs import search_scenes as scenes
from tests.services import search_on_postgres
from tests.services.conftest import fresh_database
from tests.services.postgres import on_postgres

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def search_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with fresh_database() as url:
        on_postgres(url, tmp_path_factory.mktemp("search"), scenes.prepare)
        yield url


def test_each_query_finds_what_it_finds_on_sqlite(search_url: str, tmp_path: Path) -> None:
    told = on_postgres(search_url, tmp_path, scenes.queries)
    assert {query: snippets for query, snippets in told.items() if snippets} == scenes.EXPECTED


def test_it_stays_true_whatever_changes(search_url: str, tmp_path: Path) -> None:
    told = on_postgres(search_url, tmp_path, scenes.stays_true, "1")
    assert (told["wrong"], told["entries"], told["left"]) == ([], True, [0])


def test_what_was_there_before_is_found(search_url: str, tmp_path: Path) -> None:
    assert on_postgres(search_url, tmp_path, search_on_postgres.migrate_what_is_there) == {"found": 60, "again": 0}


def test_an_answer_that_ends_while_its_guest_signs_in_is_the_users(search_url: str, tmp_path: Path) -> None:
    told = on_postgres(search_url, tmp_path, search_on_postgres.end_beside_a_sign_in)
    assert told == {"waited": True, "found": ["the answer"]}


def test_long_and_odd_texts_are_stored(search_url: str, tmp_path: Path) -> None:
    assert on_postgres(search_url, tmp_path, search_on_postgres.store_long_texts) == {"stored": 4, "found": 4}


def test_it_asks_the_index_for_what_is_ones_own(search_url: str, tmp_path: Path) -> None:
    told = on_postgres(search_url, tmp_path, search_on_postgres.search_among_many, "20000")
    print(told)
    assert "Bitmap Index Scan on chat_searchentry_words" in told["plan"]
    assert told["rows"] < 150  # of 20,000 that have the word
    assert told["milliseconds"] < 100
