from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.text import Truncator

from chat.admin.base import ReadOnlyAdmin, link, may_read_texts
from chat.admin.filters import ErrorCodeFilter, EstimatedFilter, ModelFilter, RunStatusFilter
from chat.admin.requester import shown
from chat.admin.search import as_id, newest, user_ids
from chat.admin.timeline import position, timeline
from chat.models import ChatSession, Message, Run

TITLE_CHARS = 40
SEARCHED_GUESTS = 100_000


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    list_display = (
        "status_mark", "created", "model", "session_link", "who", "attempt", "tokens", "first_token", "duration",
        "error_code",
    )  # fmt: skip
    list_filter = (RunStatusFilter, ModelFilter, ErrorCodeFilter, EstimatedFilter)
    list_select_related = ("session",)
    ordering = ("-created",)
    sortable_by = ("created",)
    search_fields = ("id",)
    search_help_text = "The id of a run, message or chat session; a request id; a user name, user:<id> or guest:<id>."
    fieldsets = (
        (None, {"fields": ("status", "stop_requested", "session_link", "message_link", "who", "model", "options")}),
        ("Error", {
            "fields": ("error_code", "error_message", "error_retryable", "error_status", "error_detail", "request_id",
                       "retries"),
        }),
        ("Answer", {
            "fields": ("finish_reason", "input_tokens", "output_tokens", "reasoning_tokens", "usage_estimated",
                       "first_token", "duration"),
        }),
        ("Work", {
            "fields": ("id", "attempt", "epoch", "lease_owner", "lease_until", "created", "started", "ended",
                       "folded", "idempotency_key", "fingerprint"),
        }),
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        return super().get_queryset(request).select_related("session").defer("session__system_prompt")

    def list_queryset(self, queryset: QuerySet[Run]) -> QuerySet[Run]:
        return queryset.defer("options", "error_detail", "error_message", "session__system_prompt")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Run], search_term: str
    ) -> tuple[QuerySet[Run], bool]:
        term = search_term.strip()
        if term.startswith("guest:"):
            # The beginning is what the list shows of it.
            return newest(queryset, "created", SEARCHED_GUESTS).filter(requester__startswith=term), False
        return (queryset.filter(_matches(term)) if term else queryset), False

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        run: Run = kwargs["obj"]
        after = position(request.GET.get("after"))
        texts = may_read_texts(request)
        context |= {"timeline": timeline(run.id, after, texts), "after": after, "texts": texts}
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description="status")
    def status_mark(self, run: Run) -> str:
        return f"{run.status} (stopping)" if run.stop_requested and run.ended is None else run.status

    @admin.display(description="chat session")
    def session_link(self, run: Run) -> str:
        return link(ChatSession, run.session_id, Truncator(run.session).chars(TITLE_CHARS))

    @admin.display(description="message")
    def message_link(self, run: Run) -> str:
        return link(Message, run.message_id, run.message_id)

    @admin.display(description="requester")
    def who(self, run: Run) -> str:
        return shown(run.requester)

    @admin.display(description="tokens in/out")
    def tokens(self, run: Run) -> str | None:
        if run.input_tokens is None and run.output_tokens is None:
            return None
        return f"{run.input_tokens or 0} / {run.output_tokens or 0}{' est.' if run.usage_estimated else ''}"

    @admin.display(description="first token")
    def first_token(self, run: Run) -> str | None:
        return None if run.first_token_ms is None else f"{run.first_token_ms} ms"

    @admin.display(description="duration")
    def duration(self, run: Run) -> str | None:
        return None if run.total_ms is None else f"{run.total_ms / 1000:.1f} s"


def _matches(term: str) -> Q:
    """One condition on one index for each kind of term: an OR over several would make SQLite walk the list's order."""
    if id_ := as_id(term):
        # An OR of three unique or session-bound lookups stays small wherever the planner starts.
        runs = Run.objects.filter(Q(pk=id_) | Q(message=id_) | Q(session=id_))
        return Q(pk__in=runs.order_by().values("pk"))
    if term.startswith("user:"):
        return Q(requester=term)
    if users := user_ids(term):
        return Q(requester__in=[f"user:{user}" for user in users])
    return Q(request_id=term)
