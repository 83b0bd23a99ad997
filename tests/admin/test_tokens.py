"""API tokens as operators see them: whose, since when, used when; to revoke, and never to use."""

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from chat.models import ApiToken
from chat.models.token import digest
from tests.admin.test_sessions import page

LIST = "/admin/chat/apitoken/"


@pytest.fixture
def made(alice: User) -> tuple[ApiToken, str]:
    token, secret = ApiToken.make(alice.pk, "for the cron job", "read")
    token.save()
    return token, secret


def test_it_lists_them_without_their_secrets(root: Client, made: tuple[ApiToken, str]) -> None:
    token, secret = made
    for html in (page(root, LIST), page(root, f"{LIST}{token.pk}/change/"), page(root, f"{LIST}?q={token.shown}")):
        for shown in ("for the cron job", "alice", f"{token.shown}…", "read only"):
            assert shown in html
        assert secret not in html
        assert token.digest not in html
    assert "for the cron job" in page(root, f"{LIST}?q=alice")
    assert "for the cron job" not in page(root, f"{LIST}?q=bob")


def test_they_are_revoked_and_nothing_else(root: Client, made: tuple[ApiToken, str]) -> None:
    token, _ = made
    assert root.get(f"{LIST}add/").status_code == 403
    assert root.post(f"{LIST}{token.pk}/change/", {"scope": "write"}).status_code == 403
    assert ApiToken.objects.get().scope == "read"
    assert root.post(f"{LIST}{token.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not ApiToken.objects.exists()


def test_one_is_made_from_the_terminal(alice: User, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("apitoken", "alice", name="shell", scope="read", days=7)
    secret = capsys.readouterr().out.strip()
    token = ApiToken.valid().get(digest=digest(secret))
    assert (token.user, token.name, token.scope) == (alice, "shell", "read")
    assert token.expires is not None
    assert (token.expires - token.created).days in {6, 7}
    for arguments, fields in ((["bob"], {}), (["alice"], {"days": 0}), (["alice"], {"name": ""})):
        with pytest.raises(CommandError):
            call_command("apitoken", *arguments, **fields)
    assert ApiToken.objects.count() == 1
