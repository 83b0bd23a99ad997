"""Make the pictures of the README from the running page: `.venv/bin/python -m scripts.screenshot`.

A server of its own on a temporary folder, the demo model, a real prompt; one picture for each theme. Needs a Chromium.
"""

import os
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tests.e2e.browser import FLAGS, find_chromium
from tests.e2e.people import Person
from tests.e2e.server import ROOT, free_port, served

FOLDER = ROOT / "docs" / "img"
THEMES = ("light", "dark")
SIZE = {"width": 1120, "height": 720}
MOST_BYTES = 200_000
PROMPT = "What is a lease, and why does a queue need one?"
# Long enough to show the answer being written, short enough to leave the prompt in sight.
CHARACTERS = 760


def picture(browser: Browser, url: str, theme: str) -> Path:
    person = Person.arrives(browser, url, viewport=SIZE, color_scheme=theme)
    try:
        person.open()
        person.send_prompt(PROMPT).sees_answer_grow(CHARACTERS)
        file = FOLDER / f"chat-{theme}.png"
        person.page.screenshot(path=file)
    finally:
        person.context.close()
    return file


def main() -> int:
    executable = find_chromium()
    if executable is None:
        print("No Chromium found: install one, or set CHROMIUM to its path.", file=sys.stderr)
        return 1
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "CHAT_MODELS"):
        os.environ.pop(name, None)  # the demo model answers
    FOLDER.mkdir(parents=True, exist_ok=True)
    port = free_port()
    with (
        tempfile.TemporaryDirectory(prefix="tokenwire-screenshot-") as data,
        served(Path(data), port, ALLOWED_ORIGINS=f"http://127.0.0.1:{port}") as url,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        files = [picture(browser, url, theme) for theme in THEMES]
        browser.close()
    for file in files:
        print(f"{file.relative_to(ROOT)}  {file.stat().st_size:,} bytes")
    return int(any(file.stat().st_size > MOST_BYTES for file in files))


if __name__ == "__main__":
    sys.exit(main())
