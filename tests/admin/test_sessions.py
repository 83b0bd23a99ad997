import re

import pytest
from django.contrib.auth.models import User
from django.test import Client

from chat.models import ChatSession, Message, Run, RunEvent
from tests.admin.people import XSS, chat, lengthen, log, staff

LIST = "/admin/chat/chatsession/"


def page(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200, response.status_code
    return response.content.decode()


def change(made: ChatSession) -> str:
    return f"{LIST}{made.pk}/change/"


def test_it_lists_owner_messages_and_whether_a_run_is_active(root: Client, alice: User) -> None:
    chat(alice, title="Quiet")
    chat(None, title="Busy", ended=None, status=Run.Status.RUNNING)
    html = page(root, LIST)
    assert html.count('"chat-live"') == 1
    assert re.search(r'field-who[^>]*">alice<', html)
    assert html.count('field-messages_counted">2<') == 2


def test_a_guests_id_is_shown_shortened(root: Client) -> None:
    made = chat(None)
    for html in (
        page(root, LIST),
        page(root, change(made.session)),
        page(root, f"/admin/chat/run/{made.run.pk}/change/"),
    ):
        assert "guest:gggggggg…" in html
        assert "g" * 32 not in html


def test_the_transcript_shows_text_escaped_and_reasoning_folded(root: Client, alice: User) -> None:
    made = chat(alice, title=XSS, text=XSS, error_code="upstream_cut", error_message=XSS)
    html = page(root, change(made.session))
    assert "<img src=x" not in html
    assert html.count("&lt;img src=x") >= 3
    assert re.search(r"<details><summary>Reasoning</summary>.*Let me think\.", html)
    assert "7 / 9 tokens" in html
    assert f"/admin/chat/run/{made.run.pk}/change/" in html


def test_the_transcript_shows_the_newest_hundred_and_links_to_the_older(root: Client, alice: User) -> None:
    made = chat(alice)
    lengthen(made, 150)
    html = page(root, change(made.session))
    assert html.count("<article") == 100
    assert "Turn 149." in html
    assert "Turn 49." not in html
    older = re.search(r'href="(\?end=[0-9a-f-]+)">Older', html)
    assert older
    html = page(root, change(made.session) + older[1])
    assert html.count("<article") == 52
    assert "Turn 49." in html
    assert "Turn 50." not in html
    assert "Older" not in html


def test_the_transcript_follows_the_active_branch_and_names_the_others(root: Client, alice: User) -> None:
    made = chat(alice)
    other = Message.objects.create(session=made.session, parent=made.prompt, role="assistant", text="Another answer")
    html = page(root, change(made.session))
    assert "Another answer" not in html
    assert f'href="?end={other.pk}"' in html
    assert "Another answer" in page(root, f"{change(made.session)}?end={other.pk}")


def test_a_message_of_another_session_is_no_end_of_a_branch(root: Client, alice: User) -> None:
    made, foreign = chat(alice), chat(alice, text="Foreign text")
    assert "Foreign text" not in page(root, f"{change(made.session)}?end={foreign.answer.pk}")
    assert page(root, f"{change(made.session)}?end=nonsense")


def test_a_running_answer_is_read_from_its_log(root: Client, alice: User) -> None:
    made = chat(alice, ended=None, status=Run.Status.RUNNING)
    Message.objects.filter(pk=made.answer.pk).update(status="streaming", text="", parts=[])
    log(made.run, 3)
    assert "word1 word2 word3 " in page(root, change(made.session))


def test_texts_need_the_permission_to_view_messages(alice: User) -> None:
    made = chat(alice)
    bob = Client()
    bob.force_login(staff("bob", "view_chatsession"))
    html = page(bob, change(made.session))
    assert "An answer" not in html
    assert "permission to view messages" in html


def test_title_and_archived_can_be_edited_and_nothing_else(root: Client, alice: User) -> None:
    made = chat(alice)
    before = ChatSession.objects.get(pk=made.session.pk)
    form = {"title": "New", "archived": "on", "model": "evil", "guest": "x", "active_leaf": ""}
    assert root.post(change(made.session), form).status_code == 302
    after = ChatSession.objects.get(pk=made.session.pk)
    assert (after.title, after.archived, after.titled_by) == ("New", True, "user")
    assert (after.model, after.guest, after.active_leaf, after.updated) == (
        before.model, before.guest, before.active_leaf, before.updated,
    )  # fmt: skip


@pytest.mark.parametrize("term", ["alice", "Riv", "id"])
def test_search_finds_by_owner_title_and_id(root: Client, alice: User, term: str) -> None:
    made = chat(alice)
    chat(None, title="Hills")
    html = page(root, f"{LIST}?q={made.session.pk if term == 'id' else term}")
    assert "Rivers" in html
    assert "Hills" not in html


def test_only_superusers_delete_and_everything_goes(root: Client, alice: User) -> None:
    made = chat(alice)
    log(made.run, 3)
    bob = Client()
    bob.force_login(staff("bob", "view_chatsession", "change_chatsession", "delete_chatsession"))
    url = f"{LIST}{made.session.pk}/delete/"
    assert bob.get(url).status_code == 403
    assert "Messages: 2" in page(root, url)
    assert ChatSession.objects.exists()
    assert root.post(url, {"post": "yes"}).status_code == 302
    assert not any(model.objects.exists() for model in (ChatSession, Message, Run, RunEvent))


def test_the_delete_action_asks_and_deletes(root: Client, alice: User) -> None:
    made = chat(alice)
    form = {"action": "delete_selected", "_selected_action": [str(made.session.pk)]}
    assert "Messages: 2" in root.post(LIST, form).content.decode()
    assert root.post(LIST, {**form, "post": "yes"}).status_code == 302
    assert not Message.objects.exists()


def test_a_user_with_chats_can_be_deleted(root: Client, alice: User) -> None:
    chat(alice)
    assert root.post(f"/admin/auth/user/{alice.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not User.objects.filter(pk=alice.pk).exists()
    assert not Run.objects.exists()
