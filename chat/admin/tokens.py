from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from chat.admin.base import BoundedAdmin
from chat.admin.search import user_ids
from chat.models import ApiToken


@admin.register(ApiToken)
class ApiTokenAdmin(BoundedAdmin):
    """To see and to revoke. Never a secret: only a digest is stored, and who makes a token is shown it there."""

    list_display = ("name", "user", "shown_start", "scope", "created", "expires", "last_used")
    list_filter = ("scope",)
    list_select_related = ("user",)
    date_hierarchy = None
    # The ids are sorted by time, and are the one index that all tokens have.
    ordering = ("-id",)
    sortable_by = ()
    search_fields = ("shown",)
    search_help_text = "A whole user name, or the first characters of a token."
    fields = ("id", "name", "user", "shown_start", "scope", "created", "expires", "last_used")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        return False

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[ApiToken], search_term: str
    ) -> tuple[QuerySet[ApiToken], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        return queryset.filter(Q(user__in=user_ids(term)) | Q(shown=term.rstrip("…"))), False

    @admin.display(description="begins with")
    def shown_start(self, token: ApiToken) -> str:
        return f"{token.shown}…"
