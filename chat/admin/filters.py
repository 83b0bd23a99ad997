from typing import Any

from django.contrib import admin
from django.db import connection
from django.db.models import QuerySet, Value
from django.db.models.functions import Coalesce
from django.http import HttpRequest

from chat.models import Message, Run
from chat.protocol.errors import RUN_ERRORS

MOST_MODELS = 50


def models_used() -> list[str]:
    """The distinct models of all runs by one index step each; SELECT DISTINCT would read the whole index."""
    table = Run._meta.db_table
    sql = (
        f"WITH RECURSIVE used(model) AS (SELECT MIN(model) FROM {table} UNION ALL "
        f"SELECT (SELECT MIN(r.model) FROM {table} r WHERE r.model > used.model) "
        f"FROM used WHERE used.model IS NOT NULL) "
        f"SELECT model FROM used WHERE model IS NOT NULL LIMIT {MOST_MODELS}"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return [model for (model,) in cursor.fetchall()]


def without_index(queryset: QuerySet[Any], field: str, value: str | None) -> QuerySet[Any]:
    """Filter by an expression, which fits no index: SQLite without statistics would choose any of them."""
    narrowed: QuerySet[Any] = queryset.alias(**{f"any_{field}": Coalesce(field, Value(""))})
    return narrowed.filter(**{f"any_{field}": value})


class ModelFilter(admin.SimpleListFilter):
    title = "model"
    parameter_name = "model"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(model, model) for model in models_used()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() and EstimatedFilter.parameter_name in request.GET:
            return without_index(queryset, "model", self.value())
        return queryset.filter(model=self.value()) if self.value() else queryset


class RunStatusFilter(admin.SimpleListFilter):
    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(value), str(label)) for value, label in Run.Status.choices]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if (
            self.value() == Run.Status.COMPLETED
            and {ModelFilter.parameter_name, EstimatedFilter.parameter_name} & request.GET.keys()
        ):
            # Most runs are completed: that index would narrow nothing.
            return without_index(queryset, "status", self.value())
        return queryset.filter(status=self.value()) if self.value() else queryset


class ErrorCodeFilter(admin.SimpleListFilter):
    title = "error code"
    parameter_name = "error_code"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(code, code) for code in RUN_ERRORS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        # Only failed runs have one: with the status the query has an index.
        return queryset.filter(status=Run.Status.FAILED, error_code=self.value()) if self.value() else queryset


class EstimatedFilter(admin.SimpleListFilter):
    title = "usage"
    parameter_name = "estimated"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("1", "estimated")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(usage_estimated=True) if self.value() == "1" else queryset


class MessageStatusFilter(admin.SimpleListFilter):
    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(value), str(label)) for value, label in Message.Status.choices]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        if self.value() != Message.Status.DONE:
            # The very condition of the partial index `message_not_done`.
            queryset = queryset.exclude(status=Message.Status.DONE)
        return queryset.filter(status=self.value())
