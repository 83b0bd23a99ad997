import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser

from tests.e2e.browser import BrowserThread, chromium_in, find_chromium
from tests.e2e.network import Network
from tests.e2e.people import Person
from tests.e2e.server import free_port, served
from tests.upstream import UpstreamServer, running_upstream


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    thread = pyfuncitem.funcargs.get("browser_thread")
    if not isinstance(thread, BrowserThread):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    thread.run(pyfuncitem.obj, **arguments)
    return True


class Site(NamedTuple):
    url: str
    network: Network  # its own URL leads to the same server
    upstream: UpstreamServer


@pytest.fixture(scope="session")
def browser_thread() -> Iterator[BrowserThread]:
    thread = BrowserThread()
    yield thread
    thread.close()


@pytest.fixture(scope="session")
def chromium(browser_thread: BrowserThread) -> Iterator[Browser]:
    executable = find_chromium()
    if executable is None:
        reason = "no Chromium found: install one (Debian: apt-get install chromium) or set CHROMIUM to its path"
        if os.environ.get("REQUIRE_SERVICES"):
            pytest.fail(reason)
        pytest.skip(reason)
    with chromium_in(browser_thread, executable) as browser:
        yield browser


@pytest.fixture(scope="session")
def site(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One server for all tests of this folder: each brings its own people, who share nothing."""
    port, network_port = free_port(), free_port()
    with running_upstream() as upstream:
        settings = {
            "OPENAI_BASE_URL": upstream.base_url,
            "OPENAI_API_KEY": "test",
            "ALLOWED_ORIGINS": f"http://127.0.0.1:{port},http://127.0.0.1:{network_port}",
        }
        with served(tmp_path_factory.mktemp("data"), port, **settings) as url:
            network = Network(network_port, port)
            yield Site(url, network, upstream)
            network.close()


Arrives = Callable[..., Person]


@pytest.fixture
def arrives(browser_thread: BrowserThread, chromium: Browser, site: Site) -> Iterator[Arrives]:
    """Lets somebody new arrive; after the test nobody may have met a script error or a foreign request."""
    people: list[Person] = []

    def arrive(url: str = site.url, **options: object) -> Person:
        people.append(Person.arrives(chromium, url, **options))
        return people[-1]

    yield arrive
    for person in people:
        browser_thread.run(person.context.close)
    assert [complaint for person in people for complaint in person.complaints] == []
    assert [url for person in people for url in person.strangers] == []


@pytest.fixture
def alice(browser_thread: BrowserThread, arrives: Arrives) -> Person:
    """A guest with the page open."""
    return browser_thread.run(lambda: arrives().open())
