"""Somebody in front of the page: the vocabulary that the browser tests are written in."""

import hashlib
import re
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Locator, expect

from tests.upstream import Scenario

PASSWORD = "correct horse battery"


class Person:
    """One browser profile with one tab; `another_tab` has the same cookies."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context = context
        self.url = url
        self.page = context.new_page()
        self.complaints: list[str] = []
        self.strangers: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda message: self._heard(message.type, message.text))
        self.page.on("request", lambda request: self._requested(request.url))

    @classmethod
    def arrives(cls, browser: Browser, url: str, **options: Any) -> "Person":
        return cls(browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options}), url)

    def another_tab(self, url: str | None = None) -> "Person":
        return Person(self.context, url or self.url)

    def _heard(self, kind: str, text: str) -> None:
        if kind == "error" and "Content Security Policy" in text:
            self.complaints.append(text)

    def _requested(self, url: str) -> None:
        if not url.startswith(("http://127.0.0.1:", "data:")):
            self.strangers.append(url)

    def take_the_cookies_of(self, other: "Person") -> None:
        taken: Any = other.context.cookies()  # the type that is given is not the type that is taken
        self.context.add_cookies(taken)

    # Deeds -----------------------------------------------------------------------------------------------------------

    def open(self, path: str = "/") -> "Person":
        self.page.goto(self.url + path)
        return self.is_live()

    def sign_up(self, name: str) -> "Person":
        self.page.goto(f"{self.url}/signup/")
        self.page.get_by_label("Username").fill(name)
        self.page.get_by_label("Password", exact=True).fill(PASSWORD)
        self.page.get_by_label("Password confirmation").fill(PASSWORD)
        self.page.get_by_role("button", name="Create account").click()
        return self.is_live()

    def sign_in(self, name: str) -> "Person":
        self.page.goto(f"{self.url}/login/")
        self.page.get_by_label("Username").fill(name)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Sign in").click()
        return self.is_live()

    def sign_out(self) -> None:
        self.page.get_by_role("button", name="Sign out").click()

    def send_prompt(self, prompt: str | Scenario) -> "Person":
        box = self.page.get_by_label("Message", exact=True)
        box.fill(prompt.prompt if isinstance(prompt, Scenario) else prompt)
        box.press("Enter")
        return self

    def reload(self) -> "Person":
        self.page.reload()
        return self.is_live()

    def stop(self) -> None:
        self.page.get_by_role("button", name="Stop").click()

    # What is seen ----------------------------------------------------------------------------------------------------

    @property
    def path(self) -> str:
        return self.page.evaluate("location.pathname")  # type: ignore[no-any-return]

    @property
    def answers(self) -> Locator:
        return self.page.locator("[data-message][data-role=assistant]")

    @property
    def prompts(self) -> Locator:
        return self.page.locator("[data-message][data-role=user]")

    @property
    def text(self) -> str:
        """Of the last answer, without its reasoning: what is shown, as the model wrote it."""
        parts = self.answers.last.locator("[data-part=text]")
        return str(parts.evaluate_all("all => all.map(each => each.source ?? each.textContent).join('')"))

    def is_live(self) -> "Person":
        return self.sees_connection("live")

    def sees_connection(self, state: str) -> "Person":
        expect(self.page.locator(".connection")).to_have_attribute("data-state", state, timeout=20_000)
        return self

    def sees_answer_grow(self, characters: int = 40) -> "Person":
        self.page.wait_for_function(
            """characters => {
                const all = document.querySelectorAll("[data-role=assistant]");
                const part = all[all.length - 1]?.querySelector("[data-part=text]");
                return (part?.source ?? part?.textContent ?? "").length >= characters;
            }""",
            arg=characters,
        )
        return self

    def sees_end(self, status: str = "done") -> "Person":
        expect(self.answers.last).to_have_attribute("data-status", re.compile(status), timeout=30_000)
        return self

    def sees_answer(self, text: str, count: int = 1) -> "Person":
        """Exactly this text, once, in the last of `count` answers."""
        # The count first: until the new answer is there, the last one is the one before, and that has ended.
        expect(self.answers).to_have_count(count)
        self.sees_end()
        assert self.text == text
        assert sha256(self.text) == sha256(text)
        return self


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
