"""/api/docs under our own policy: nothing from outside, nothing refused, and what it tries out is let in."""

import secrets

from playwright.sync_api import expect

from tests.e2e.conftest import Arrives


def test_it_shows_the_operations_and_tries_them_out(arrives: Arrives) -> None:
    alice = arrives().sign_up(f"alice{secrets.token_hex(4)}")
    page = alice.page
    page.goto(f"{alice.url}/api/docs")
    expect(page.get_by_role("heading", name="Tokenwire")).to_be_visible()
    block = page.locator("#operations-chat_sessions-chat_api_sessions_create_session")
    block.locator(".opblock-summary").click()
    block.get_by_role("button", name="Try it out").click()
    block.locator("textarea").fill('{"title": "Made from the docs"}')
    block.get_by_role("button", name="Execute").click()
    expect(block.locator(".live-responses-table .response-col_status").last).to_contain_text("201")
    page.goto(alice.url)
    expect(page.get_by_role("link", name="Made from the docs")).to_be_visible()
