from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.auth import admin as auth_admin
from django.contrib.auth.models import User
from django.http import HttpRequest

from chat.admin.deletion import Summary, summary
from chat.models import ChatSession

if TYPE_CHECKING:
    UserAdmin = auth_admin.UserAdmin[User]
else:
    UserAdmin = auth_admin.UserAdmin

admin.site.unregister(User)


@admin.register(User)
class ChatUserAdmin(UserAdmin):
    """Django's, but a user can be deleted together with chats that the admin shows read-only."""

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Summary:
        users: Sequence[User] = list(objs)
        sessions = ChatSession.objects.filter(owner__in=[user.pk for user in users])
        deleted, counts, lacking, protected = summary(users, sessions)
        if counts["chat sessions"] and not request.user.is_superuser:
            lacking.add("chat session")
        return deleted, {"users": len(users), **counts}, lacking, protected
