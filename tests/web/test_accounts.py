import pytest
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client
from pytest_django import Settings

from chat.models import ChatSession, Run
from chat.runs.owner import Owner
from chat.transports.access import GUEST_KEY
from chat.web import throttle
from tests.web.conftest import PASSWORD
from tests.web.conversations import conversation

pytestmark = pytest.mark.django_db

TOO_MANY = "Too many tries"
WRONG = "This name and password do not belong to an account."


def sign_in(client: Client, name: str, password: str = PASSWORD, address: str = "192.0.2.1") -> HttpResponse:
    return client.post("/login/", {"username": name, "password": password}, REMOTE_ADDR=address)  # type: ignore[return-value]


def test_signing_in_and_out_works(client: Client, alice_user: User) -> None:
    assert sign_in(client, "alice").headers["Location"] == "/"
    assert "alice" in client.get("/").content.decode()
    assert client.get("/logout/").status_code == 405, "a link on another site must not sign anybody out"
    assert client.post("/logout/").headers["Location"] == "/"
    assert "Guest" in client.get("/").content.decode()


def test_sign_in_leads_to_no_other_site(client: Client, alice_user: User) -> None:
    data = {"username": "alice", "password": PASSWORD, "next": "https://evil.example/"}
    assert client.post("/login/", data).headers["Location"] == "/"


def test_a_guests_chat_sessions_go_to_the_user_it_signs_in_as(client: Client, alice_user: User) -> None:
    client.get("/")
    guest = Owner(guest=client.session[GUEST_KEY])
    session = conversation(guest)
    sign_in(client, "alice")
    session.refresh_from_db()
    assert (session.owner, session.guest) == (alice_user, "")
    assert Run.objects.get().requester == f"user:{alice_user.pk}"
    assert GUEST_KEY not in client.session
    assert client.get(f"/c/{session.id}/").status_code == 200


def test_an_id_that_both_used_does_not_stop_the_sign_in(client: Client, alice: Owner) -> None:
    client.get("/")
    guest = Owner(guest=client.session[GUEST_KEY])
    conversation(guest)
    conversation(alice)
    Run.objects.update(idempotency_key="1")
    assert sign_in(client, "alice").status_code == 302
    assert sorted(str(key) for key in Run.objects.values_list("idempotency_key", flat=True)) == ["1", "None"]


def test_a_name_for_a_chat_session_that_both_used_stays_the_users(client: Client, alice: Owner) -> None:
    client.get("/")
    guests, hers = conversation(Owner(guest=client.session[GUEST_KEY])), conversation(alice)
    ChatSession.objects.update(client_id="support")
    assert sign_in(client, "alice").status_code == 302
    names = {session.id: session.client_id for session in alice.sessions()}
    assert names == {hers.id: "support", guests.id: None}


def test_signing_out_does_not_bring_the_guest_back(client: Client, alice_user: User) -> None:
    client.get("/")
    guest = client.session[GUEST_KEY]
    sign_in(client, "alice")
    client.post("/logout/")
    client.get("/")
    assert client.session[GUEST_KEY] != guest


def test_anybody_may_sign_up_where_that_is_on(client: Client) -> None:
    client.get("/")
    session = conversation(Owner(guest=client.session[GUEST_KEY]))
    new = {"username": "dora", "password1": PASSWORD, "password2": PASSWORD}
    assert client.post("/signup/", new).headers["Location"] == "/"
    session.refresh_from_db()
    assert session.owner == User.objects.get(username="dora")


def test_a_weak_password_is_refused(client: Client) -> None:
    weak = {"username": "dora", "password1": "12345678", "password2": "12345678"}
    assert client.post("/signup/", weak).status_code == 200
    assert not User.objects.exists()


def test_sign_up_is_not_there_where_it_is_off(client: Client, settings: Settings) -> None:
    settings.CHAT_SIGN_UP = False
    assert client.get("/signup/").status_code == 404
    assert client.post("/signup/", {"username": "x"}).status_code == 404
    assert "/signup/" not in client.get("/login/").content.decode()
    assert "/signup/" not in client.get("/").content.decode()


def test_a_wrong_password_and_an_unknown_name_get_the_same_answer(client: Client, alice_user: User) -> None:
    User.objects.create_user("closed", password=PASSWORD, is_active=False)
    for name, password in [("alice", "wrong"), ("nobody", "wrong"), ("closed", PASSWORD)]:
        assert WRONG in sign_in(client, name, password).content.decode()


def test_the_eleventh_wrong_password_in_a_minute_is_not_even_checked(client: Client, alice_user: User) -> None:
    for _ in range(throttle.TRIES):
        assert WRONG in sign_in(client, "alice", "wrong").content.decode()
    assert TOO_MANY in sign_in(client, "alice").content.decode(), "the right one neither"
    assert TOO_MANY in sign_in(client, "ALICE").content.decode()


def test_a_throttle_holds_for_one_name_from_one_address(client: Client, alice_user: User, bob_user: User) -> None:
    for _ in range(throttle.TRIES + 1):
        sign_in(client, "alice", "wrong")
    assert sign_in(client, "bob").status_code == 302
    assert sign_in(client, "alice", address="192.0.2.2").status_code == 302


def test_unknown_names_are_throttled_alike(client: Client) -> None:
    for _ in range(throttle.TRIES):
        sign_in(client, "nobody", "wrong")
    assert TOO_MANY in sign_in(client, "nobody", "wrong").content.decode()


def test_a_right_password_clears_the_count(client: Client, alice_user: User) -> None:
    for _ in range(throttle.TRIES - 1):
        sign_in(client, "alice", "wrong")
    assert sign_in(client, "alice").status_code == 302
    assert WRONG in sign_in(client, "alice", "wrong").content.decode()


def test_the_password_can_be_changed(client: Client, alice_user: User) -> None:
    client.force_login(alice_user)
    new = "another horse battery"
    changed = client.post("/password/", {"old_password": PASSWORD, "new_password1": new, "new_password2": new})
    assert changed.headers["Location"] == "/"
    assert sign_in(Client(), "alice", new).status_code == 302


def test_changing_the_password_asks_a_guest_to_sign_in(client: Client) -> None:
    assert client.get("/password/").headers["Location"].startswith("/login/")


def test_the_admins_own_sign_in_has_the_same_limit(client: Client, admin_user: User) -> None:
    for _ in range(throttle.TRIES):
        client.post("/admin/login/", {"username": "admin", "password": "wrong"})
    answer = client.post("/admin/login/", {"username": "admin", "password": "password"})
    assert TOO_MANY in answer.content.decode()


def test_staff_sign_in_to_the_admin(client: Client, admin_user: User) -> None:
    answer = client.post("/admin/login/?next=/admin/", {"username": "admin", "password": "password", "next": "/admin/"})
    assert answer.headers["Location"] == "/admin/"


def test_the_old_password_cannot_be_guessed_without_end(client: Client, alice_user: User) -> None:
    client.force_login(alice_user)
    fields = {"new_password1": "a-better-secret", "new_password2": "a-better-secret"}
    for _ in range(throttle.TRIES):
        client.post("/password/", {"old_password": "wrong", **fields})
    answer = client.post("/password/", {"old_password": PASSWORD, **fields})
    assert TOO_MANY in answer.content.decode()
    alice_user.refresh_from_db()
    assert alice_user.check_password(PASSWORD)
