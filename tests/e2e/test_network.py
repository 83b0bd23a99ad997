import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import Arrives, Site
from tests.upstream import Scenario

pytestmark = pytest.mark.browser


def test_a_cut_amid_the_answer_leaves_no_gap_and_no_repeat(site: Site, arrives: Arrives) -> None:
    story = Scenario(seed="cut", chunks=120, rate=40)
    alice = arrives(site.network.url).open().send_prompt(story).sees_answer_grow()
    site.network.cut()
    try:
        alice.sees_connection("reconnecting")
        # Cookies know no ports: her other tab reaches the server on a way that is not cut.
        alice.another_tab(site.url).open(alice.path).sees_answer(story.text)
        assert alice.text != story.text
        assert story.text.startswith(alice.text)
    finally:
        site.network.mend()
    alice.sees_answer(story.text)
    alice.is_live()


def test_many_short_cuts_leave_the_text_whole(site: Site, arrives: Arrives) -> None:
    story = Scenario(seed="cuts", chunks=250, rate=40)
    alice = arrives(site.network.url).open().send_prompt(story)
    for characters in (30, 250, 500):
        alice.sees_answer_grow(characters)
        site.network.cut()
        try:
            alice.sees_connection("reconnecting")
        finally:
            site.network.mend()
        alice.is_live()
    alice.sees_answer(story.text)
    expect(alice.prompts).to_have_count(1)


def test_a_prompt_written_while_the_network_is_away_is_sent_once_it_is_back(site: Site, arrives: Arrives) -> None:
    story = Scenario(seed="kept prompt")
    alice = arrives(site.network.url).open()
    site.network.cut()
    try:
        alice.sees_connection("reconnecting").send_prompt(story)
        expect(alice.prompts.last).to_have_attribute("data-status", "pending")
    finally:
        site.network.mend()
    alice.sees_answer(story.text)
    expect(alice.prompts).to_have_count(1)
    alice.reload().sees_answer(story.text)
    expect(alice.prompts).to_have_count(1)


def test_the_page_says_when_the_browser_is_offline_and_comes_back(site: Site, arrives: Arrives) -> None:
    alice = arrives(site.network.url).open()
    alice.context.set_offline(True)
    alice.sees_connection("offline")
    alice.context.set_offline(False)
    alice.is_live()
