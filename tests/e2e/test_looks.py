import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import Arrives
from tests.e2e.people import Person
from tests.upstream import Scenario
from tests.web.payloads import PAYLOADS

pytestmark = pytest.mark.browser

# What an answer's elements may carry; those of KaTeX are its own.
ALLOWED_ATTRIBUTES = {"align", "class", "data-language", "data-math", "href", "start", "title"} | {
    "aria-pressed", "data-code", "rel", "tabindex", "target", "type",
}  # fmt: skip
PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}


def no_sideways_scroll(person: Person) -> bool:
    return bool(person.page.evaluate("document.documentElement.scrollWidth <= innerWidth && innerWidth <= 360"))


def test_nothing_scrolls_sideways_on_a_phone(arrives: Arrives) -> None:
    alice = arrives(**PHONE).open()
    assert no_sideways_scroll(alice)
    story = Scenario(seed="phone " + "w" * 300, chunks=80)
    alice.send_prompt(story).sees_answer(story.text)
    assert no_sideways_scroll(alice)
    alice.page.get_by_role("button", name="Chats").click()
    expect(alice.page.get_by_role("link", name="New chat")).to_be_in_viewport()
    assert no_sideways_scroll(alice)


@pytest.mark.parametrize("path", ["/login/", "/signup/"])
def test_the_account_pages_fit_a_phone(arrives: Arrives, path: str) -> None:
    alice = arrives(**PHONE)
    alice.page.goto(alice.url + path)
    assert no_sideways_scroll(alice)


def test_the_end_stays_in_view_unless_the_reader_scrolled_up(alice: Person) -> None:
    alice.send_prompt(Scenario(seed="scrolls", chunks=3000, rate=400)).sees_answer_grow(3000)
    # A function: an expression is given to `eval` at every look but the first, which the page forbids.
    at_end = """() => {
        const thread = document.querySelector(".thread");
        return thread.scrollHeight - thread.scrollTop - thread.clientHeight < 80;
    }"""
    alice.page.wait_for_function(at_end)
    alice.page.evaluate("document.querySelector('.thread').scrollTop = 0")
    to_end = alice.page.get_by_role("button", name="To the newest message")
    expect(to_end).to_be_visible()
    alice.sees_answer_grow(5000)
    assert alice.page.evaluate("document.querySelector('.thread').scrollTop") == 0
    to_end.click()
    alice.page.wait_for_function(at_end)
    alice.stop()


def test_earlier_messages_come_above_without_moving_what_is_read(alice: Person) -> None:
    first = Scenario(seed="turn 0", chunks=3)
    alice.send_prompt(first).sees_answer(first.text)
    for turn in range(1, 27):
        story = Scenario(seed=f"turn {turn}", chunks=3)
        alice.send_prompt(story).sees_answer(story.text, count=turn + 1)
    alice.reload()
    expect(alice.page.locator("[data-message]:not([data-message=''])")).to_have_count(50)
    oldest = alice.prompts.first.element_handle()
    link = alice.page.get_by_role("link", name="Earlier messages")
    link.scroll_into_view_if_needed()
    top = oldest.bounding_box()["y"]  # type: ignore[index]
    link.click()
    expect(alice.answers).to_have_count(27)
    assert abs(oldest.bounding_box()["y"] - top) < 60, "the link itself goes"  # type: ignore[index]
    assert alice.prompts.first.locator("[data-text]").text_content() == first.prompt
    expect(link).to_be_hidden()


def test_hostile_prompts_and_titles_are_inert(alice: Person) -> None:
    for payload in PAYLOADS[::4]:
        alice.page.get_by_role("link", name="New chat").click()
        expect(alice.prompts).to_have_count(0)
        alice.send_prompt(payload).sees_end()
        assert alice.prompts.last.locator("[data-text]").text_content() == payload
        alice.reload()
        assert alice.prompts.last.locator("[data-text]").text_content() == payload
    assert alice.page.evaluate("window.hacked") is None
    expect(alice.page.locator("img, iframe, main style, main script, math, base")).to_have_count(0)


@pytest.mark.parametrize("kind", ["text", "reasoning"])
def test_hostile_answers_are_inert(alice: Person, kind: str) -> None:
    """Split in the midst, as a model may do it."""
    shown = alice.page.evaluate(
        """async ([payloads, kind]) => {
            const { MessageView } = await import("chat/message_view");
            const shown = [];
            for (const text of payloads) {
                const view = new MessageView();
                document.querySelector(".thread__messages").append(view.element);
                const message = { id: "m", role: "assistant", status: "streaming", siblings: [], model: text };
                for (const length of [text.length >> 1, text.length]) {
                    view.update({ ...message, parts: [{ type: kind, text: text.slice(0, length) }] });
                }
                view.update({ ...message, status: "failed", error: { message: text }, parts: [{ type: kind, text }] });
                const found = (selector) => view.element.querySelector(selector).textContent;
                const part = view.element.querySelector("[data-text]");
                shown.push([part.source ?? part.textContent, found(".message__note span"), found(".message__model")]);
            }
            return shown;
        }""",
        [PAYLOADS, kind],
    )
    assert shown == [[payload] * 3 for payload in PAYLOADS]
    alice.page.wait_for_load_state("networkidle")
    assert alice.page.evaluate("window.hacked") is None
    unwanted = "img, iframe, base, main style, main script, .message form, .message input"
    expect(alice.page.locator(unwanted)).to_have_count(0)
    links = alice.page.locator(".message a").evaluate_all("all => all.map(each => each.getAttribute('href'))")
    assert all(link.startswith(("https://", "http://", "mailto:")) for link in links), links
    attributes = alice.page.locator(".markdown *:not(.katex *)").evaluate_all(
        "all => [...new Set(all.flatMap(each => each.getAttributeNames()))]"
    )
    assert set(attributes) <= ALLOWED_ATTRIBUTES, attributes
    assert alice.strangers == []
