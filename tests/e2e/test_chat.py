import asyncio
import re
import threading
from uuid import uuid4

import pytest
from playwright.sync_api import expect

from tests.e2e.browser import BrowserThread
from tests.e2e.conftest import Arrives, Site
from tests.e2e.people import Person
from tests.upstream import Scenario

pytestmark = pytest.mark.browser


def test_an_answer_streams(alice: Person) -> None:
    story = Scenario(seed="streams", chunks=60, rate=60)
    alice.send_prompt(story).sees_answer_grow(20)
    assert story.text.startswith(alice.text)
    expect(alice.answers.last).to_have_attribute("data-status", "streaming")
    alice.sees_answer(story.text)
    assert re.fullmatch(r"/c/[0-9a-f-]{36}/", alice.path)
    expect(alice.page.get_by_role("status")).to_have_text("Answer complete")


def test_reasoning_stands_apart_from_the_text(alice: Person) -> None:
    story = Scenario(seed="thinks", chunks=10, reasoning=8)
    alice.send_prompt(story).sees_answer(story.text)
    reasoning = alice.answers.last.locator("[data-part=reasoning]")
    expect(reasoning).not_to_have_attribute("open", "")
    assert reasoning.locator("[data-text]").text_content() == story.reasoning_text


def test_a_conversation_goes_on_and_is_listed(alice: Person) -> None:
    first, second = Scenario(seed="one"), Scenario(seed="two")
    alice.send_prompt(first).sees_answer(first.text)
    path = alice.path
    alice.send_prompt(second).sees_answer(second.text, count=2)
    assert alice.path == path
    expect(alice.prompts).to_have_count(2)
    expect(alice.page.locator(".sessions [aria-current=page]")).to_have_count(1)


def test_stop_keeps_the_partial_answer(alice: Person, site: Site) -> None:
    story = Scenario(seed="stopped", chunks=5000, rate=50)
    alice.send_prompt(story).sees_answer_grow()
    alice.stop()
    alice.sees_end("stopped")
    kept = alice.text
    assert story.text.startswith(kept)
    assert alice.reload().text == kept
    alice.sees_end("stopped")
    expect(alice.page.get_by_role("button", name="Send")).to_be_visible()


def test_escape_stops(alice: Person) -> None:
    alice.send_prompt(Scenario(seed="escaped", chunks=5000, rate=50)).sees_answer_grow()
    alice.page.keyboard.press("Escape")
    alice.sees_end("stopped")


def test_enter_keeps_the_next_prompt_while_an_answer_is_written_and_the_hint_says_so(alice: Person) -> None:
    hint = alice.page.locator(".composer__hint:visible")
    expect(hint).to_contain_text("Shift+Enter")
    alice.send_prompt(Scenario(seed="hinted", chunks=5000, rate=50)).sees_answer_grow()
    alice.send_prompt("The next one")
    expect(alice.page.get_by_label("Message", exact=True)).to_have_value("The next one")
    expect(alice.prompts).to_have_count(1)
    expect(hint).to_contain_text("once it has ended")
    alice.stop()
    expect(hint).to_contain_text("Shift+Enter")


def test_a_reload_amid_the_answer_shows_the_same_text_once(alice: Person) -> None:
    story = Scenario(seed="reloaded", chunks=150, rate=40)
    alice.send_prompt(story)
    for characters in (40, 200, 400):
        alice.sees_answer_grow(characters).reload()
    alice.sees_answer(story.text)
    expect(alice.prompts).to_have_count(1)


def test_a_reload_without_scripts_shows_the_text_so_far(alice: Person, arrives: Arrives) -> None:
    story = Scenario(seed="unscripted", chunks=5000, rate=50)
    alice.send_prompt(story).sees_answer_grow()
    reader = arrives(java_script_enabled=False)
    reader.take_the_cookies_of(alice)
    reader.page.goto(alice.url + alice.path)
    assert len(reader.text) >= 40
    assert story.text.startswith(reader.text)
    alice.stop()
    alice.sees_end("stopped")


def test_a_second_tab_sees_the_run_live(alice: Person) -> None:
    first, second = Scenario(seed="tab one"), Scenario(seed="tab two", chunks=80, rate=40)
    alice.send_prompt(first).sees_answer(first.text)
    tab = alice.another_tab().open(alice.path)
    alice.send_prompt(second)
    tab.sees_answer_grow()
    expect(tab.answers.last).to_have_attribute("data-status", "streaming")
    expect(tab.prompts).to_have_count(2)
    tab.sees_answer(second.text, count=2)
    alice.sees_answer(second.text, count=2)


def test_a_second_tab_can_stop_the_run(alice: Person) -> None:
    alice.send_prompt(Scenario(seed="other tab", chunks=5000, rate=50)).sees_answer_grow()
    tab = alice.another_tab().open(alice.path).sees_answer_grow()
    tab.stop()
    tab.sees_end("stopped")
    alice.sees_end("stopped")
    assert alice.text == tab.text


def test_a_new_chat_appears_in_other_tabs(alice: Person) -> None:
    tab = alice.another_tab().open()
    expect(tab.page.locator(".sessions li")).to_have_count(0)
    alice.send_prompt(Scenario(seed="listed")).sees_end()
    expect(tab.page.locator(".sessions li")).to_have_count(1)


def test_a_failed_answer_can_be_tried_again_and_both_are_kept(alice: Person) -> None:
    story = Scenario(seed="falls", chunks=30, error_after=6)
    alice.send_prompt(story).sees_end("failed")
    assert alice.text == story.text
    alice.answers.last.get_by_role("button", name="Try again").click()
    output = alice.answers.last.locator(".siblings output")
    expect(output).to_have_text("2 / 2")
    alice.sees_end("failed")
    alice.answers.last.get_by_role("button", name="Previous version").click()
    expect(output).to_have_text("1 / 2")
    expect(alice.answers).to_have_count(1)


def test_a_refused_prompt_comes_back_into_the_box(alice: Person) -> None:
    alice.page.evaluate("document.querySelector('textarea').removeAttribute('maxlength')")
    prompt = "x" * 32_001
    alice.send_prompt(prompt)
    expect(alice.page.get_by_role("alert")).to_contain_text("32,000")
    expect(alice.page.get_by_label("Message", exact=True)).to_have_value(prompt)
    expect(alice.prompts).to_have_count(0)


def test_switching_between_chats_keeps_each_whole(alice: Person) -> None:
    long, short = Scenario(seed="long", chunks=120, rate=40), Scenario(seed="short", chunks=10)
    alice.send_prompt(long).sees_answer_grow()
    first = alice.path
    alice.page.get_by_role("link", name="New chat").click()
    alice.send_prompt(short).sees_answer(short.text)
    assert alice.path != first
    alice.page.go_back()
    alice.page.go_back()
    alice.sees_answer(long.text)
    assert alice.path == first


def test_a_composed_word_is_not_sent_by_its_enter(alice: Person) -> None:
    box = alice.page.get_by_label("Message", exact=True)
    box.fill("に")
    box.dispatch_event("keydown", {"key": "Enter", "isComposing": True})
    box.press("Shift+Enter")
    expect(box).to_have_value("に\n")
    expect(alice.prompts).to_have_count(0)


def test_a_guests_chats_follow_it_into_its_account(alice: Person) -> None:
    story = Scenario(seed="guest")
    alice.send_prompt(story).sees_answer(story.text)
    path, name = alice.path, f"dora{uuid4().hex[:8]}"
    alice.sign_up(name).open(path).sees_answer(story.text)
    alice.sign_out()
    assert alice.page.goto(alice.url + path).status == 404  # type: ignore[union-attr]
    alice.sign_in(name).open(path).sees_answer(story.text)


def test_the_admins_pages_work_under_the_policy(arrives: Arrives) -> None:
    stranger = arrives()
    stranger.page.goto(f"{stranger.url}/admin/")
    expect(stranger.page.get_by_label("Username")).to_be_visible()


def test_playwrights_loop_runs_beside_the_main_thread(browser_thread: BrowserThread, alice: Person) -> None:
    assert threading.current_thread() is not threading.main_thread()
    assert asyncio._get_running_loop() is not None, "Playwright's, in this thread"
