"""The list view that all models of the chat share."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from chat.admin.dates import Drilldown, drilldown
from chat.admin.pagination import BoundedPaginator

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin


class BoundedChangeList(ChangeList):
    model_admin: "BoundedAdmin"

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        return self.model_admin.list_queryset(super().get_queryset(request, exclude_parameters))

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        # A list: what the rows need beyond their columns is looked up for this page only.
        rows = list(self.result_list)
        self.model_admin.complete(rows)
        self.result_list = rows

    def drilldown(self) -> Drilldown | None:
        return drilldown(self, self.date_hierarchy) if self.date_hierarchy else None


class BoundedAdmin(ModelAdmin):
    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 100
    # "Show all" is of no use where all may be a million.
    list_max_show_all = 100
    date_hierarchy: ClassVar[str | None] = "created"
    empty_value_display = "–"

    class Media:
        css = {"all": ["chat/admin/chat.css"]}

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return BoundedChangeList

    def list_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Leave out what a list doesn't show."""
        return queryset

    def complete(self, rows: Sequence[Any]) -> None:
        """Give the rows of one page what their columns don't hold."""


class ReadOnlyAdmin(BoundedAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def may_read_texts(request: HttpRequest) -> bool:
    """Prompts and answers are for those who may view messages, wherever they are shown."""
    return bool(request.user.has_perm("chat.view_message"))


def link(model: type[Model], pk: object, text: object) -> SafeString | str:
    if pk is None:
        return "–"
    return format_html('<a href="{}">{}</a>', reverse(f"admin:chat_{model._meta.model_name}_change", args=[pk]), text)
