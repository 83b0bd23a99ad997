import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def open_doors(settings: Settings) -> None:
    settings.CHAT_GUESTS = True
    settings.CHAT_SIGN_UP = True


@pytest.fixture
def alice_user(db: None) -> User:
    return User.objects.create_user("alice", password=PASSWORD)


@pytest.fixture
def bob_user(db: None) -> User:
    return User.objects.create_user("bob", password=PASSWORD)
