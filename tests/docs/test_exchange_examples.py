"""The examples of search, export and import in docs/protocol.md are what the server reads and writes."""

import json

import msgspec
import pytest
from django.conf import settings

from chat.api.exchange import Report
from chat.api.search import Hits
from chat.models.search_sqlite import INDEXED_CHARS
from chat.protocol.exchange import FiledMessage, FiledSession
from chat.runs import chatgpt, conversations, importing, search
from chat.runs.tree import LONGEST_PATH
from tests.docs.pages import blocks, read, section

PAGE = read("docs/protocol.md")


def example(heading: str) -> str:
    [block] = blocks(section(PAGE, heading), "json")
    return block


@pytest.mark.parametrize("heading, kind", [("Search", Hits), ("Import", Report)])
def test_an_answer_has_the_fields_that_are_sent(heading: str, kind: type[Hits | Report]) -> None:
    told = json.loads(example(heading))
    assert json.loads(kind.model_validate(told).model_dump_json()) == json.loads(
        kind.model_validate(told).model_dump_json(exclude_unset=True)
    )


def test_the_matches_are_where_they_are_said_to_be() -> None:
    [hit] = json.loads(example("Search"))["hits"]
    _, matches = search.excerpt(hit["snippet"], search._pattern(search.parse("apple pie")))
    assert [list(match) for match in matches] == hit["matches"]


def test_the_file_is_read_by_the_import_and_has_every_field() -> None:
    data = example("Export").encode()
    spans, ours = importing._take_apart(data)
    [read_] = importing._convert(data, spans, ours)
    assert ours
    assert isinstance(read_, conversations.Conversation)
    [session] = json.loads(data)["sessions"]
    assert set(session) == set(FiledSession.__struct_fields__)
    assert all(set(message) == set(FiledMessage.__struct_fields__) for message in session["messages"])
    assert msgspec.convert(session, FiledSession).active == msgspec.convert(session, FiledSession).messages[-1].id


def test_the_limits_are_those_of_the_code() -> None:
    assert f"first {search.MOST_WORDS} count" in PAGE
    assert f"come by {search.PAGE}" in PAGE
    assert f"first {INDEXED_CHARS:,} characters" in PAGE
    assert f"{importing.MOST_BYTES // 1024**2} MiB at most" in PAGE
    told = section(PAGE, "Import")
    assert f"{importing.MOST_SESSIONS:,} conversations in a file, {LONGEST_PATH:,} messages in one" in told
    assert f"{importing.MOST_SESSION_BYTES // 1024**2} MiB of JSON for one" in told
    assert settings.CHAT_ANSWER_CHARS > 0
    assert chatgpt.__doc__
