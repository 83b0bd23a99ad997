from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from chat.models import ChatSession, Message
from chat.runs.owner import Owner
from chat.transports.access import GUEST_KEY
from tests.web.conversations import conversation, failed_conversation, streaming_conversation
from tests.web.html import Page

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser(client: Client, alice_user: User) -> Client:
    client.force_login(alice_user)
    return client


def page(client: Client, session: ChatSession) -> Page:
    response = client.get(f"/c/{session.id}/")
    assert response.status_code == 200
    return Page(response.content.decode())


def test_the_page_works(browser: Client) -> None:
    response = browser.get("/")
    assert response.status_code == 200
    assert "What is on your mind?" in response.content.decode()
    assert "no-store" in response["Cache-Control"]


def test_a_chat_session_is_readable_without_scripts(browser: Client, alice: Owner) -> None:
    assert page(browser, conversation(alice)).texts[:2] == ["Hello", "Hi there"]


def test_the_messages_carry_what_the_scripts_need(browser: Client, alice: Owner) -> None:
    session = conversation(alice)
    prompt, answer = page(browser, session).messages()
    assert (prompt["data-role"], prompt["data-status"]) == ("user", "done")
    assert (answer["data-role"], answer["data-status"]) == ("assistant", "done")
    assert answer["data-message"] == str(session.active_leaf_id)
    assert answer["data-run"] == str(session.runs.get().id)


def test_a_reload_amid_an_answer_shows_the_text_so_far(browser: Client, alice: Owner) -> None:
    session = streaming_conversation(alice, "Let me think", ["Once ", "upon\n\n", "a ti"])
    found = page(browser, session)
    assert found.texts[:3] == ["Hello", "Let me think", "Once upon\n\na ti"]
    assert found.messages()[-1]["data-status"] == "streaming"


def test_a_failed_answer_shows_its_reason_and_offers_another_try(browser: Client, alice: Owner) -> None:
    session = failed_conversation(alice, "The model's server did not answer.")
    html = browser.get(f"/c/{session.id}/").content.decode()
    assert "The model&#x27;s server did not answer." in html
    retry = [tag for tag in page(browser, session).attributes("button") if tag.get("data-action") == "retry"]
    assert "hidden" not in retry[1], "the answer's"
    assert "hidden" in retry[0], "the prompt's"


def test_no_other_try_is_offered_where_it_would_fail_again(browser: Client, alice: Owner) -> None:
    session = failed_conversation(alice, "The key is wrong.", retryable=False)
    retry = [tag for tag in page(browser, session).attributes("button") if tag.get("data-action") == "retry"]
    assert all("hidden" in tag for tag in retry)


def test_somebody_elses_chat_session_looks_like_none(browser: Client, bob: Owner) -> None:
    theirs = browser.get(f"/c/{conversation(bob).id}/")
    none = browser.get(f"/c/{uuid4()}/")
    assert theirs.status_code == none.status_code == 404
    assert theirs.content == none.content.replace(none.wsgi_request.path.encode(), theirs.wsgi_request.path.encode())


def test_a_guests_chat_session_is_not_found_by_others(browser: Client, client: Client, charlie: Owner) -> None:
    session = conversation(charlie)
    assert browser.get(f"/c/{session.id}/").status_code == 404
    assert Client().get(f"/c/{session.id}/").status_code == 404


def test_the_list_shows_ones_own_chat_sessions_newest_first(browser: Client, alice: Owner, bob: Owner) -> None:
    conversation(bob, title="Not hers")
    old = conversation(alice, title="Old")
    ChatSession.objects.filter(id=old.id).update(updated=timezone.now() - timedelta(days=1))
    new = conversation(alice, title="New")
    gone = conversation(alice, title="Archived")
    ChatSession.objects.filter(id=gone.id).update(archived=True)
    listed = Page(browser.get("/").content.decode()).attributes("li")
    assert [item["data-session"] for item in listed if item["data-session"]] == [str(new.id), str(old.id)]


def test_earlier_messages_are_a_link_away(browser: Client, alice: Owner) -> None:
    session = conversation(alice, prompt="first prompt")
    leaf = session.active_leaf
    for number in range(60):
        leaf = Message.objects.create(session=session, parent=leaf, role="user", text="", parts=[], model=f"m{number}")
    ChatSession.objects.filter(id=session.id).update(active_leaf=leaf)
    newest = page(browser, session)
    assert "first prompt" not in newest.texts
    (link,) = [tag for tag in newest.attributes("a") if tag.get("class") == "earlier"]
    earlier = browser.get(f"/c/{session.id}/{link['href']}")
    assert "first prompt" in Page(earlier.content.decode()).texts


@pytest.mark.parametrize("cursor", ["x", "0190f0f0-0000-7000-8000-000000000000", ""])
def test_an_unknown_cursor_is_not_found(browser: Client, alice: Owner, cursor: str) -> None:
    assert browser.get(f"/c/{conversation(alice).id}/?before={cursor}").status_code == 404


def test_the_page_takes_few_queries_however_long_the_list(
    browser: Client, alice: Owner, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    session = conversation(alice)
    for _ in range(20):
        conversation(alice)
    with django_assert_max_num_queries(9):
        browser.get(f"/c/{session.id}/")


def test_the_demo_is_labelled(browser: Client, settings: Settings) -> None:
    settings.OPENAI_API_KEY = settings.OPENAI_BASE_URL = ""
    (notice,) = [tag for tag in Page(browser.get("/").content.decode()).attributes("p") if tag.get("class") == "notice"]
    assert "hidden" not in notice


def test_a_real_model_has_no_demo_label(browser: Client, settings: Settings) -> None:
    settings.OPENAI_BASE_URL = "http://127.0.0.1:9/v1"
    (notice,) = [tag for tag in Page(browser.get("/").content.decode()).attributes("p") if tag.get("class") == "notice"]
    assert "hidden" in notice


def test_a_guest_gets_an_id_of_its_own_at_the_first_visit(client: Client) -> None:
    client.get("/")
    first = client.session[GUEST_KEY]
    client.get("/")
    assert client.session[GUEST_KEY] == first
    other = Client()
    other.get("/")
    assert other.session[GUEST_KEY] != first
    assert len(first) == 32


def test_a_guest_finds_its_chat_sessions_again(client: Client) -> None:
    client.get("/")
    session = conversation(Owner(guest=client.session[GUEST_KEY]))
    assert page(client, session).texts[0] == "Hello"


def test_without_guests_a_visitor_signs_in_first(client: Client, settings: Settings) -> None:
    settings.CHAT_GUESTS = False
    path = f"/c/{uuid4()}/"
    assert client.get("/").headers["Location"] == "/login/?next=/"
    assert client.get(path).headers["Location"] == f"/login/?next={path}"
    assert GUEST_KEY not in client.session


def test_only_reading_methods_are_allowed(browser: Client) -> None:
    assert browser.post("/").status_code == 405
