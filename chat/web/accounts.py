"""What happens to a guest's chat sessions when the guest signs in."""

from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.contrib.auth.signals import user_logged_in
from django.db import transaction
from django.dispatch import receiver
from django.http import HttpRequest

from chat.models import Run
from chat.runs.owner import Owner
from chat.transports.access import GUEST_KEY


@receiver(user_logged_in, dispatch_uid="hand_over_guest_sessions")
def hand_over_guest_sessions(request: HttpRequest, user: AbstractBaseUser, **_: Any) -> None:
    """login() keeps an anonymous visitor's session data, and flushes another user's: the guest's id is still there."""
    guest = request.session.pop(GUEST_KEY, "")
    if guest:
        hand_over(Owner(guest=guest), Owner(user=user.pk))


@transaction.atomic
def hand_over(guest: Owner, user: Owner) -> None:
    # Both may have imported the same.
    imported = user.sessions().filter(import_key__isnull=False).values("import_key")
    guest.sessions().filter(import_key__in=imported).update(import_key=None)
    # An application that names its only chat session has used the same name on both sides of the sign-in.
    named = user.sessions().filter(client_id__isnull=False).values("client_id")
    guest.sessions().filter(client_id__in=named).update(client_id=None)
    runs = Run.objects.filter(requester=guest.requester)
    # A client that counts its ids from 1 may have used the same ones on both sides of the sign-in.
    taken = Run.objects.filter(requester=user.requester, idempotency_key__isnull=False).values("idempotency_key")
    runs.filter(idempotency_key__in=taken).update(idempotency_key=None)
    runs.update(requester=user.requester)
    # After the runs: one that ends at this moment locks itself first, and then what its chat session is searched by.
    guest.sessions().update(owner_id=user.user, guest="")
