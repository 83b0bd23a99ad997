"""examples/react-chat in Chromium, as its README has it started: Vite serves the page and passes /api on."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.browser import BrowserThread
from tests.e2e.conftest import Arrives
from tests.e2e.server import free_port, served
from tests.packages import installed_or_skipped
from tests.upstream import Scenario, running_upstream

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "react-chat"


@pytest.fixture(scope="module")
def react_page(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    node, home = installed_or_skipped(EXAMPLE)
    folder = tmp_path_factory.mktemp("react-chat")
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
    (folder / "node_modules").symlink_to(home / "node_modules")
    port, page_port = free_port(), free_port()
    settings = {"OPENAI_API_KEY": "test", "ALLOWED_ORIGINS": f"http://127.0.0.1:{page_port}"}
    with (
        running_upstream() as upstream,
        served(tmp_path_factory.mktemp("data"), port, OPENAI_BASE_URL=upstream.base_url, **settings) as url,
        subprocess.Popen(
            [
                node.node,
                "node_modules/vite/bin/vite.js",
                "--host",
                "127.0.0.1",
                "--port",
                str(page_port),
                "--strictPort",
            ],
            cwd=folder,
            env={**os.environ, "TOKENWIRE": url, "NO_COLOR": "1"},
            stdout=subprocess.PIPE,
            text=True,
        ) as vite,
    ):
        assert vite.stdout is not None
        try:
            assert any("ready in" in line for line in vite.stdout)
            yield f"http://127.0.0.1:{page_port}"
        finally:
            vite.terminate()
            vite.stdout.read()


@pytest.fixture
def page(browser_thread: BrowserThread, arrives: Arrives, react_page: str) -> Page:
    def opened() -> Page:
        page = arrives(react_page).page
        page.goto(react_page)
        return page

    return browser_thread.run(opened)


@pytest.mark.browser
def test_it_works(browser_thread: BrowserThread, page: Page) -> None:
    first, second = Scenario(seed="react", chunks=40, rate=100), Scenario(seed="again", chunks=4_000, rate=100)
    box, answers = page.get_by_label("Message"), page.locator("[data-role=assistant]")
    box.fill(first.prompt)
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("button", name="Stop")).to_be_enabled()
    page.wait_for_function("document.querySelector('[data-role=assistant]')?.textContent.length > 20")
    assert first.text.startswith(str(answers.last.text_content()))
    expect(page.get_by_role("button", name="Send")).to_be_enabled()
    assert answers.last.text_content() == first.text
    page.get_by_role("button", name="Again").click()
    expect(page.get_by_role("button", name="Send")).to_be_enabled()
    box.fill(second.prompt)
    page.get_by_role("button", name="Send").click()
    expect(answers).to_have_count(2)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Send")).to_be_enabled()
    box.fill("x" * 32_001)
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("alert")).to_contain_text("A prompt may hold at most 32,000 characters")
