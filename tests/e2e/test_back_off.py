"""How long the page waits before it connects again: longer each time, and not as long as all the others."""

from typing import Any

import pytest

from tests.e2e.conftest import Arrives, Site

pytestmark = pytest.mark.browser

FIRST_MS, MOST_MS = 500, 10_000
PAGES, TRIES = 200, 7

# As many connections as pages would make after one cut, each told of `tries` failures in a row.
WAITS = """async ([pages, tries, code]) => {
    const { Connection } = await import("chat/connection");
    const waits = [];
    const real = { WebSocket, setTimeout };
    class Broken { close() {} }
    try {
        for (let page = 0; page < pages; page += 1) {
            let socket, failing = false;
            const own = [];
            window.WebSocket = class extends Broken { constructor() { super(); socket = this; } };
            window.setTimeout = (work, wait) => { if (failing) own.push([work, wait]); };
            const connection = new Connection("ws://nowhere/", { onFrame() {}, onState() {}, onSignedOut() {} });
            connection.open();
            for (let attempt = 0; attempt < tries; attempt += 1) {
                failing = true;
                socket.onclose({ code });
                failing = false;
                own.at(-1)[0]();
            }
            waits.push(own.map(([, wait]) => wait));
        }
    } finally {
        Object.assign(window, real);
    }
    return waits;
}"""


def waits(site: Site, arrives: Arrives, code: int) -> list[list[float]]:
    """For each failure in a row, how long each of the pages waits."""
    alice = arrives(site.url).open()
    found: Any = alice.page.evaluate(WAITS, [PAGES, TRIES, code])
    assert len(found) == PAGES
    return [list(each) for each in zip(*found, strict=True)]


def spread(values: list[float]) -> int:
    """How many tenths of the way from the least to the most have somebody in them."""
    least, most = min(values), max(values)
    return len({min(9, int((value - least) / (most - least) * 10)) for value in values})


def test_a_page_waits_longer_each_time_and_pages_do_not_wait_alike(site: Site, arrives: Arrives) -> None:
    for failure, each in enumerate(waits(site, arrives, 1006)):
        longest = min(MOST_MS, FIRST_MS * 2 ** (failure + 1))
        assert longest / 2 <= min(each) <= max(each) <= longest
        assert max(each) - min(each) > longest / 4
        assert spread(each) == 10


def test_after_a_restart_pages_come_back_at_once_but_not_together(site: Site, arrives: Arrives) -> None:
    for each in waits(site, arrives, 1012):
        assert 0 <= min(each) <= max(each) <= FIRST_MS
        assert spread(each) == 10
