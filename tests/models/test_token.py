from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from chat.models import ApiToken
from chat.models.token import digest
from chat.transports.access import Credentials, Refused, Visitor, identify, still_valid

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> User:
    return User.objects.create_user("alice")


def make(user: User, scope: str = "write", **fields: object) -> tuple[ApiToken, str]:
    token, secret = ApiToken.make(user.pk, "ci", scope)
    for name, value in fields.items():
        setattr(token, name, value)
    token.save()
    return token, secret


def sign_in(secret: str) -> Visitor:
    return identify(Credentials(token=secret))


def test_the_secret_is_kept_nowhere(alice: User) -> None:
    token, secret = make(alice)
    assert token.digest == digest(secret)
    row = ApiToken.objects.filter(id=token.id).values_list().get()
    assert not any(secret in str(value) for value in row)
    assert secret.startswith(token.shown)
    assert len(secret) - len(token.shown) > 30


def test_a_token_is_its_user_with_its_scope(alice: User) -> None:
    visitor = sign_in(make(alice)[1])
    assert (visitor.owner.user, visitor.name, visitor.may_write, visitor.guest) == (alice.pk, "alice", True, False)
    assert sign_in(make(alice, "read")[1]).may_write is False


def test_what_is_unknown_expired_or_of_nobody_active_is_refused(alice: User) -> None:
    token, secret = make(alice)
    visitor = sign_in(secret)
    assert still_valid(visitor)
    for wrong in ("", "tw_", secret[:-1], secret + "x", token.digest, str(token.id)):
        with pytest.raises(Refused):
            sign_in(wrong)
    token.expires = timezone.now() - timedelta(seconds=1)
    token.save()
    with pytest.raises(Refused):
        sign_in(secret)
    assert not still_valid(visitor)
    token.expires = timezone.now() + timedelta(hours=1)
    token.save()
    assert still_valid(sign_in(secret))
    User.objects.filter(pk=alice.pk).update(is_active=False)
    with pytest.raises(Refused):
        sign_in(secret)
    assert not still_valid(visitor)


def test_a_revoked_token_is_no_longer_valid(alice: User) -> None:
    token, secret = make(alice)
    visitor = sign_in(secret)
    token.delete()
    assert not still_valid(visitor)


def test_the_last_use_is_kept_to_the_minute(alice: User) -> None:
    token, secret = make(alice)
    sign_in(secret)
    token.refresh_from_db()
    first = token.last_used
    assert first is not None
    sign_in(secret)
    token.refresh_from_db()
    assert token.last_used == first
    ApiToken.objects.update(last_used=first - timedelta(minutes=2))
    sign_in(secret)
    token.refresh_from_db()
    assert token.last_used is not None
    assert token.last_used >= first
