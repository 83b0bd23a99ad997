import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from chat.models import Run
from tests.admin.people import XSS, chat, log, staff
from tests.admin.test_sessions import page

LIST = "/admin/chat/run/"


def test_it_lists_the_figures_of_a_run(root: Client, alice: User) -> None:
    chat(alice)
    html = page(root, LIST)
    for shown in ("7 / 9", "210 ms", "1.5 s", f"user:{alice.pk}", "Rivers"):
        assert shown in html


@pytest.mark.parametrize("action", ["add/", "{}/change/", "{}/delete/"])
def test_runs_are_read_only_even_for_a_superuser(root: Client, alice: User, action: str) -> None:
    made = chat(alice)
    assert root.post(LIST + action.format(made.run.pk), {"status": "failed", "post": "yes"}).status_code == 403
    assert Run.objects.get().status == Run.Status.COMPLETED


def test_the_page_shows_the_upstreams_words_escaped(root: Client, alice: User) -> None:
    made = chat(alice, status=Run.Status.FAILED, error_code="upstream_cut", error_detail=XSS, retries=2, epoch=41)
    html = page(root, f"{LIST}{made.run.pk}/change/")
    assert "&lt;img src=x" in html
    assert "<img src=x" not in html
    assert "41" in html


def test_the_event_log_comes_in_pages(root: Client, alice: User) -> None:
    made = chat(alice)
    log(made.run, 450)
    url = f"{LIST}{made.run.pk}/change/"
    seqs, query = [], ""
    while True:
        html = page(root, url + query)
        seqs += [int(seq) for seq in re.findall(r"<tr><td>(\d+)</td><td>text.delta", html)]
        later = re.search(r'href="(\?after=\d+)#timeline">later', html)
        if later is None:
            break
        query = later[1]
    assert seqs == list(range(1, 451))
    assert 'href="?after=200#timeline">earlier' in page(root, f"{url}?after=400")
    assert "word1 " in page(root, f"{url}?after=nonsense")


@pytest.mark.parametrize(
    "folded, seqs, told",
    [
        (None, range(1, 4), ""),
        (None, range(3, 4), "The log was trimmed: it begins at 3."),
        (True, range(3, 4), "events were folded into its message"),
        (False, range(1, 4), "The events are kept"),
    ],
)
def test_it_says_where_the_events_went(root: Client, alice: User, folded: bool | None, seqs: range, told: str) -> None:
    made = chat(alice, folded=folded)
    log(made.run, 3)
    made.run.events.exclude(seq__in=seqs).delete()
    html = page(root, f"{LIST}{made.run.pk}/change/")
    assert [int(seq) for seq in re.findall(r"<tr><td>(\d+)</td>", html)] == list(seqs)
    assert "of 3 events" in html
    every = ("The log was trimmed: it begins at 3.", "events were folded into its message", "The events are kept")
    assert [each for each in every if each in html] == ([told] if told else [])


def test_a_long_event_is_cut(root: Client, alice: User) -> None:
    made = chat(alice)
    log(made.run, 1)
    made.run.events.update(data="x" * 5000)
    html = page(root, f"{LIST}{made.run.pk}/change/")
    assert "4700 more characters" in html
    assert "x" * 301 not in html


def test_the_data_of_events_needs_the_permission_to_view_messages(alice: User) -> None:
    made = chat(alice)
    log(made.run, 3)
    bob = Client()
    bob.force_login(staff("bob", "view_run"))
    html = page(bob, f"{LIST}{made.run.pk}/change/")
    assert "text.delta" in html
    assert "word1" not in html


def test_without_permission_runs_are_closed(alice: User) -> None:
    made = chat(alice)
    bob = Client()
    bob.force_login(staff("bob", "view_chatsession"))
    assert bob.get(LIST).status_code == 403
    assert bob.get(f"{LIST}{made.run.pk}/change/").status_code == 403


@pytest.mark.parametrize("term", ["run", "message", "session", "req_1", "alice", "requester"])
def test_search_finds_by_ids_and_requester(root: Client, alice: User, term: str) -> None:
    made = chat(alice)
    chat(None, title="Hills", request_id="req_2")
    ids = {
        "run": made.run.pk, "message": made.answer.pk, "session": made.session.pk, "requester": f"user:{alice.pk}",
    }  # fmt: skip
    html = page(root, f"{LIST}?q={ids.get(term, term)}")
    assert "Rivers" in html
    assert "Hills" not in html


def test_a_guest_is_found_by_the_shown_beginning(root: Client, alice: User) -> None:
    chat(alice)
    chat(None, title="Hills")
    html = page(root, f"{LIST}?q=guest:gggggggg")
    assert "Hills" in html
    assert "Rivers" not in html


@pytest.mark.parametrize(
    "query", ["status=failed", "model=m2", "error_code=upstream_cut", "estimated=1", "model=m2&estimated=1"]
)
def test_filters_narrow(root: Client, alice: User, query: str) -> None:
    chat(alice)
    failed: dict[str, Any] = {"status": Run.Status.FAILED, "error_code": "upstream_cut", "usage_estimated": True}
    chat(None, title="Hills", model="m2", **failed)
    html = page(root, f"{LIST}?{query}")
    assert "Hills" in html
    assert "Rivers" not in html
    assert "model=m1" in html  # every model in use is offered
