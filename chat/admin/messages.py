from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.db.models.functions import Substr
from django.http import HttpRequest, HttpResponse
from django.utils.text import Truncator

from chat.admin.base import ReadOnlyAdmin, link
from chat.admin.filters import MessageStatusFilter
from chat.admin.search import as_id, newest
from chat.admin.transcript import show
from chat.models import ChatSession, Message, Run

TITLE_CHARS = 40
EXCERPT_CHARS = 100
SEARCHED_TEXTS = 20_000
WHOLE_CHARS = 500_000


@admin.register(Message)
class MessageAdmin(ReadOnlyAdmin):
    list_display = ("excerpt", "role", "status", "session_link", "created")
    list_filter = ("role", MessageStatusFilter)
    list_select_related = ("session",)
    ordering = ("-created",)
    sortable_by = ("created",)
    search_fields = ("id",)
    search_help_text = (
        f'The id of a message or chat session; "text in quotes" is looked for in the newest {SEARCHED_TEXTS:,} '
        "messages that the filters leave."
    )
    fields = ("id", "session_link", "parent_link", "run_link", "role", "status", "model", "created")

    def list_queryset(self, queryset: QuerySet[Message]) -> QuerySet[Message]:
        slim = queryset.defer("text", "parts", "session__system_prompt")
        return slim.annotate(start=Substr("text", 1, EXCERPT_CHARS + 1))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Message], search_term: str
    ) -> tuple[QuerySet[Message], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        if id_ := as_id(term):
            found = Message.objects.filter(Q(pk=id_) | Q(session=id_))
            return queryset.filter(pk__in=found.order_by().values("pk")), False
        if len(term) > 2 and term[0] == term[-1] == '"':
            return newest(queryset, "created", SEARCHED_TEXTS).filter(text__icontains=term[1:-1]), False
        return queryset.none(), False

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        context["shown"] = show(kwargs["obj"], WHOLE_CHARS)
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description="text")
    def excerpt(self, message: Any) -> str:
        return Truncator(" ".join(message.start.split())).chars(EXCERPT_CHARS) or "(no text)"

    @admin.display(description="chat session")
    def session_link(self, message: Message) -> str:
        return link(ChatSession, message.session_id, Truncator(message.session).chars(TITLE_CHARS))

    @admin.display(description="parent")
    def parent_link(self, message: Message) -> str:
        return link(Message, message.parent_id, message.parent_id)

    @admin.display(description="run")
    def run_link(self, message: Message) -> str:
        run: Run | None = getattr(message, "run", None)
        return link(Run, run and run.id, run and run.id)
