"""Links, paths, names and make's words in the documentation exist."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, defined, headings, mentions, read

LINK = re.compile(r'(?:\]\(|srcset="|src=")([^)"\s]+)')
PATH = re.compile(
    r"(?:[\w.-]+/)*[\w.-]+\.(?:py|md|toml|css|js)(?:::[\w.]+)?|(?:chat|config|tests|docs|scripts|static)/[\w./-]*"
)
MAKE_WORD = re.compile(r"^make ([a-z0-9]+)")
# Made by the reader, and a form explained.
THEIRS = {"hello.py", "file.py::name"}

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def test_there_are_the_pages_that_are_promised() -> None:
    names = {str(page.relative_to(ROOT)) for page in PAGES}
    assert {"README.md", "CHANGELOG.md", "docs/architecture.md", "docs/protocol.md", "docs/errors.md"} <= names


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in LINK.findall(text):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        assert file.exists(), target
        assert not anchor or anchor in headings(file.read_text(encoding="utf-8")), target


@every_page
def test_paths_and_names_exist(page: Path) -> None:
    for mention in mentions(page.read_text(encoding="utf-8")):
        if not PATH.fullmatch(mention) or mention in THEIRS:
            continue
        name, _, inner = mention.partition("::")
        found = [folder / name for folder in (ROOT, ROOT / "chat", page.parent) if (folder / name).exists()]
        assert found, mention
        assert not inner or inner in defined(found[0]), mention


def test_the_architecture_names_many() -> None:
    assert sum("::" in mention for mention in mentions(read("docs/architecture.md"))) > 25
    assert sum("::test_" in mention for mention in mentions(read("README.md"))) > 12


@every_page
def test_the_words_of_make_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    words = {match[1] for line in [*mentions(text), *text.splitlines()] if (match := MAKE_WORD.match(line))}
    known = set(re.findall(r"^([a-z0-9]+):.*##", read("Makefile"), re.MULTILINE))
    assert words <= known


def test_the_pictures_are_there_and_small() -> None:
    for theme in ("light", "dark"):
        picture = ROOT / "docs" / "img" / f"chat-{theme}.png"
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size < 200_000
