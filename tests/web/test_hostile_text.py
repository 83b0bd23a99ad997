import pytest
from django.contrib.auth.models import User
from django.test import Client

from chat.runs.owner import Owner
from tests.web.conversations import conversation, failed_conversation, streaming_conversation
from tests.web.html import Page
from tests.web.payloads import PAYLOADS

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser(client: Client, alice_user: User) -> Client:
    client.force_login(alice_user)
    return client


def shape(page: Page) -> list[tuple[str, list[str]]]:
    """The tags and the names of their attributes: what text must not be able to change."""
    return [(tag, sorted(attributes)) for tag, attributes in page.tags]


def read(client: Client, path: str) -> Page:
    return Page(client.get(path).content.decode())


@pytest.mark.parametrize("payload", PAYLOADS)
def test_prompt_answer_and_title_are_shown_as_they_are(browser: Client, alice: Owner, payload: str) -> None:
    plain = conversation(alice, "plain", "plain", "plain")
    expected = shape(read(browser, f"/c/{plain.id}/"))
    plain.delete()
    session = conversation(alice, payload, payload, payload)
    found = read(browser, f"/c/{session.id}/")
    assert found.texts[:2] == [payload, payload]
    assert shape(found) == expected


@pytest.mark.parametrize("payload", PAYLOADS)
def test_text_and_reasoning_that_stream_are_shown_as_they_are(browser: Client, alice: Owner, payload: str) -> None:
    half = len(payload) // 2
    session = streaming_conversation(alice, payload, [payload[:half], payload[half:]])
    found = read(browser, f"/c/{session.id}/")
    assert found.texts[1:3] == [payload, payload]
    assert "img" not in found.names()


@pytest.mark.parametrize("payload", PAYLOADS)
def test_an_error_is_shown_as_it_is(browser: Client, alice: Owner, payload: str) -> None:
    plain = failed_conversation(alice, "plain")
    expected = shape(read(browser, f"/c/{plain.id}/"))
    plain.delete()
    session = failed_conversation(alice, payload)
    assert shape(read(browser, f"/c/{session.id}/")) == expected


def test_a_user_name_is_shown_as_it_is(client: Client, db: None) -> None:
    client.force_login(User.objects.create_user("<img src=x onerror=alert(1)>"))
    html = client.get("/").content.decode()
    assert "&lt;img src=x onerror=alert(1)&gt;" in html
    assert "img" not in Page(html).names()


def test_the_place_to_go_after_sign_in_cannot_leave_its_attribute(client: Client) -> None:
    html = client.get("/login/", {"next": '/"><script>alert(1)</script>'}).content.decode()
    assert "<script>alert(1)" not in html
