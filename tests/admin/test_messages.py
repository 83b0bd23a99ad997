import pytest
from django.contrib.auth.models import User
from django.test import Client

from chat.models import Message
from tests.admin.people import XSS, chat
from tests.admin.test_sessions import page

LIST = "/admin/chat/message/"


def test_it_lists_the_beginning_of_the_text(root: Client, alice: User) -> None:
    chat(alice, text=XSS + "x" * 5000)
    html = page(root, LIST)
    assert "&lt;script&gt;" in html
    assert "x" * 100 not in html


def test_the_page_shows_the_whole_text_escaped(root: Client, alice: User) -> None:
    made = chat(alice, text=XSS + "x" * 50_000)
    html = page(root, f"{LIST}{made.answer.pk}/change/")
    assert "x" * 50_000 in html
    assert "<img src=x" not in html


@pytest.mark.parametrize("action", ["add/", "{}/change/", "{}/delete/"])
def test_messages_are_read_only_even_for_a_superuser(root: Client, alice: User, action: str) -> None:
    made = chat(alice)
    assert root.post(LIST + action.format(made.answer.pk), {"text": "forged", "post": "yes"}).status_code == 403
    assert Message.objects.get(pk=made.answer.pk).text == "An answer"


@pytest.mark.parametrize("term", ["message", "session", '"n answ"'])
def test_search_finds_by_ids_and_by_text_in_quotes(root: Client, alice: User, term: str) -> None:
    made = chat(alice)
    chat(None, title="Hills", text="Other")
    html = page(root, LIST + "?q=" + {"message": str(made.answer.pk), "session": str(made.session.pk)}.get(term, term))
    assert "An answer" in html
    assert "Other" not in html


def test_words_without_quotes_find_nothing(root: Client, alice: User) -> None:
    chat(alice)
    assert "An answer" not in page(root, f"{LIST}?q=answer")


@pytest.mark.parametrize("status", ["done", "failed"])
def test_the_status_filter_narrows(root: Client, alice: User, status: str) -> None:
    chat(alice)
    failed = chat(alice, text="Half an ans")
    Message.objects.filter(pk=failed.answer.pk).update(status="failed")
    html = page(root, f"{LIST}?status={status}")
    assert ("An answer" in html) == (status == "done")
    assert ("Half an ans" in html) == (status == "failed")
