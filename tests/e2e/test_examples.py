"""The EventSource of a real browser: with the page of examples/, and with the least that a page can do."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browser import BrowserThread
from tests.e2e.conftest import Arrives, Site
from tests.e2e.network import Network
from tests.e2e.people import Person
from tests.e2e.server import free_port, served
from tests.upstream import Scenario

pytestmark = pytest.mark.browser

PATH = "/static/examples/eventsource.html"


class Debugging(NamedTuple):
    network: Network
    database: Path

    @property
    def runs(self) -> int:
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=20)) as connection:
            return int(connection.execute("SELECT count(*) FROM chat_run").fetchone()[0])


@pytest.fixture(scope="module")
def debugging(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debugging]:
    """A server with DEBUG on, as examples/README.md asks for."""
    port, network_port = free_port(), free_port()
    data = tmp_path_factory.mktemp("debugging")
    settings = {
        "OPENAI_BASE_URL": site.upstream.base_url,
        "OPENAI_API_KEY": "test",
        "DEBUG": "on",
        "ALLOWED_ORIGINS": f"http://127.0.0.1:{port},http://127.0.0.1:{network_port}",
    }
    with served(data, port, **settings):
        network = Network(network_port, port)
        yield Debugging(network, data / "db.sqlite3")
        network.close()


@pytest.fixture
def visitor(browser_thread: BrowserThread, arrives: Arrives, debugging: Debugging) -> Person:
    """A guest, whom the chat page has given a cookie, on the example's page."""

    def arrive() -> Person:
        person = arrives(debugging.network.url).open()
        person.page.goto(debugging.network.url + PATH)
        return person

    return browser_thread.run(arrive)


def ask(page: Page, story: Scenario) -> None:
    page.get_by_label("Prompt").fill(story.prompt)
    page.get_by_role("button", name="Ask").click()


def sees_answer_grow(page: Page, characters: int) -> None:
    page.wait_for_function("most => document.querySelector('pre').textContent.length >= most", arg=characters)


def test_it_works(visitor: Person, debugging: Debugging) -> None:
    story, before = Scenario(seed="page", chunks=40, rate=40), debugging.runs
    ask(visitor.page, story)
    sees_answer_grow(visitor.page, 20)
    expect(visitor.page.locator("form")).to_have_attribute("data-end", "")
    expect(visitor.page.locator("form")).to_have_attribute("data-end", "run.completed")
    assert visitor.page.locator("pre").text_content() == story.text
    assert debugging.runs == before + 1


def test_a_cut_loses_and_repeats_nothing(visitor: Person, debugging: Debugging) -> None:
    story, before = Scenario(seed="page cut", chunks=100, rate=40), debugging.runs
    ask(visitor.page, story)
    for characters in (40, 200):
        sees_answer_grow(visitor.page, characters)
        debugging.network.cut()
        debugging.network.mend()
    expect(visitor.page.locator("form")).to_have_attribute("data-end", "run.completed", timeout=20_000)
    assert visitor.page.locator("pre").text_content() == story.text
    assert debugging.runs == before + 1


def test_a_page_that_knows_only_onmessage_stops_after_the_end_and_pays_once(
    visitor: Person, debugging: Debugging
) -> None:
    """It never closes its EventSource, and it is cut before it has read a byte, as well as amid the text.

    Having read no `retry`, Chromium waits three seconds: the answer takes longer (docs/protocol.md says why it must).
    """
    story, before = Scenario(seed="page least", chunks=220, rate=40, first_token_delay=0.3), debugging.runs
    visitor.page.evaluate(
        """prompt => {
            window.text = "";
            window.source = new EventSource("/api/stream?" + new URLSearchParams({ prompt }));
            source.onmessage = ({ data }) => { text += JSON.parse(data).content; };
        }""",
        story.prompt,
    )
    while debugging.runs == before:
        visitor.page.wait_for_timeout(5)
    debugging.network.cut()
    debugging.network.mend()
    visitor.page.wait_for_function("text.length > 60", timeout=20_000)
    assert debugging.runs == before + 1
    debugging.network.cut()
    debugging.network.mend()
    visitor.page.wait_for_function("source.readyState === EventSource.CLOSED", timeout=20_000)
    assert visitor.page.evaluate("text") == story.text
    assert debugging.runs == before + 1


def test_a_picture_or_a_link_in_an_answer_asks_nothing(visitor: Person, debugging: Debugging) -> None:
    before = debugging.runs
    visitor.page.evaluate(
        """() => new Promise((done) => {
            const picture = new Image();
            picture.onerror = done;
            picture.src = "/api/stream?prompt=picture";
            document.body.innerHTML = '<a href="/api/stream?prompt=link">the source</a>';
            document.body.append(picture);
        })"""
    )
    with visitor.page.expect_response("**/api/stream?prompt=link") as answer:
        visitor.page.get_by_role("link").click()
    assert answer.value.status == 403
    assert debugging.runs == before
