from pathlib import Path

import pytest

from tests.runs import chatgpt_file as chatgpt
from tests.runs import search_scenes as scenes
from tests.services import exchange_on_postgres
from tests.services.postgres import on_postgres

pytestmark = pytest.mark.services


def test_what_is_imported_comes_out_and_goes_in_again(database_url: str, tmp_path: Path) -> None:
    on_postgres(database_url, tmp_path, scenes.prepare)
    told = on_postgres(database_url, tmp_path, exchange_on_postgres.there_and_back)
    malformed = len(chatgpt.MALFORMED)
    assert told["reports"] == [[3, 0, malformed], [0, 3, malformed], [3, 0, 0], [0, 3, 0], [1, 0, 0], [1, 0, 0]]
    assert told["messages"] == [2, 5, 250]
    assert told["stored"] == [8, 4 * 250 + 2 * 7]
