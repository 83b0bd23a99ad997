"""Tells the sockets of a user that its sign-in may have ended: logout, new password, deactivation, revoked token.

Only a hint to look at once: the sockets are closed by what the database says, and are checked on a timer anyway.
"""

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_out
from django.db import transaction
from django.db.models.signals import post_delete, post_save

from chat.models import ApiToken
from chat.runs import process
from chat.runs.notices import AccountChanged

ENDS_SIGN_INS = {"password", "is_active"}


def connect() -> None:
    user = get_user_model()
    user_logged_out.connect(_logged_out, dispatch_uid="chat.account.logged_out")
    post_save.connect(_saved, sender=user, dispatch_uid="chat.account.saved")
    post_delete.connect(_deleted, sender=user, dispatch_uid="chat.account.deleted")
    post_delete.connect(_revoked, sender=ApiToken, dispatch_uid="chat.account.revoked")
    post_save.connect(_revoked, sender=ApiToken, dispatch_uid="chat.account.token_changed")


def _logged_out(user: Any, **_: Any) -> None:
    if user is not None:
        _tell(user.pk)


def _saved(instance: Any, created: bool, update_fields: frozenset[str] | None, **_: Any) -> None:
    # Every login saves the user as well, with update_fields={"last_login"}.
    if not created and (update_fields is None or not ENDS_SIGN_INS.isdisjoint(update_fields)):
        _tell(instance.pk)


def _deleted(instance: Any, **_: Any) -> None:
    _tell(instance.pk)


def _revoked(instance: ApiToken, **_: Any) -> None:
    _tell(instance.user_id)


def _tell(user: int) -> None:
    def tell() -> None:
        if engine := process.current():
            engine.notify_from_thread(AccountChanged(user))

    transaction.on_commit(tell)  # the admin saves inside a transaction, whose outcome other connections cannot see yet
