"""Chromium, driven from a thread of its own.

Playwright's sync API keeps an event loop running in the thread that starts it. In the main thread this would break
every asyncio test and every Django query that comes later in the same pytest run, so one worker thread does all of it:
the fixtures hand their calls to it, and `pytest_pyfunc_call` in conftest.py runs whole tests in it.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from playwright.sync_api import Browser, sync_playwright

P = ParamSpec("P")
T = TypeVar("T")

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium() -> str | None:
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class BrowserThread:
    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "browser")

    def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return self._pool.submit(call, *args, **kwargs).result()

    def close(self) -> None:
        self._pool.shutdown()


@contextmanager
def chromium_in(thread: BrowserThread, executable: str) -> Iterator[Browser]:
    playwright = thread.run(sync_playwright().start)
    try:
        browser = thread.run(playwright.chromium.launch, executable_path=executable, headless=True, args=FLAGS)
        yield browser
        thread.run(browser.close)
    finally:
        thread.run(playwright.stop)
