from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import Exists, IntegerField, OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from chat.admin.base import BoundedAdmin, may_read_texts
from chat.admin.deletion import Summary, summary
from chat.admin.requester import shown
from chat.admin.search import as_id, newest, user_ids
from chat.admin.transcript import transcript
from chat.models import ChatSession, Message, Run
from chat.runs.sessions import delete_as_operator

COUNTED = 1_000
SEARCHED_TITLES = 100_000


class _BoundedCount(Subquery):
    template = "(SELECT COUNT(*) FROM (%(subquery)s) counted)"
    output_field = IntegerField()


@admin.register(ChatSession)
class ChatSessionAdmin(BoundedAdmin):
    list_display = ("title_or_untitled", "who", "model", "messages_counted", "state", "updated")
    list_filter = ("archived", "created")
    list_select_related = ("owner",)
    sortable_by = ()
    search_fields = ("title",)
    search_help_text = (
        f"An id, a whole user name, or a part of a title among the newest {SEARCHED_TITLES:,} that the filters leave."
    )
    fields = ("title", "archived", "id", "who", "titled_by", "model", "system_prompt", "created", "updated")
    readonly_fields = ("id", "who", "titled_by", "model", "system_prompt", "created", "updated")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Summary:
        sessions = list(objs)
        return summary(sessions, ChatSession.objects.filter(pk__in=[session.pk for session in sessions]))

    def delete_model(self, request: HttpRequest, obj: ChatSession) -> None:
        delete_as_operator(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ChatSession]) -> None:
        for session in queryset:
            delete_as_operator(session)

    def save_model(self, request: HttpRequest, obj: ChatSession, form: Any, change: bool) -> None:
        # Only what was edited: a run may write the active leaf meanwhile. An operator's edit doesn't count as activity.
        if "title" in form.changed_data:
            obj.titled_by = ChatSession.TitledBy.USER
        obj.save(update_fields=[*form.changed_data, *(["titled_by"] if "title" in form.changed_data else [])])

    def get_ordering(self, request: HttpRequest) -> tuple[str]:
        # The index of the range that was asked for also gives the order.
        dated = any(name.startswith("created") for name in request.GET)
        return ("-created",) if dated else ("-updated",)

    def list_queryset(self, queryset: QuerySet[ChatSession]) -> QuerySet[ChatSession]:
        return queryset.defer("system_prompt")

    def complete(self, rows: Sequence[ChatSession]) -> None:
        ids = [session.pk for session in rows]
        mine = Message.objects.filter(session=OuterRef("pk")).order_by().values("pk")[: COUNTED + 1]
        going = Run.objects.filter(session=OuterRef("pk"), ended=None)
        found = ChatSession.objects.filter(pk__in=ids).order_by().values_list("pk", _BoundedCount(mine), Exists(going))
        facts = {pk: (count, live) for pk, count, live in found}
        for session in rows:
            session.counted, session.going = facts.get(session.pk, (0, False))  # type: ignore[attr-defined]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[ChatSession], search_term: str
    ) -> tuple[QuerySet[ChatSession], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        if id_ := as_id(term):
            return queryset.filter(pk=id_), False
        by = self.get_ordering(request)[0].removeprefix("-")
        titled = newest(queryset, by, SEARCHED_TITLES).filter(title__icontains=term)
        if users := user_ids(term):
            # The ids first: over both conditions at once the planner would walk every session.
            ids = titled.order_by().values("pk")
            return queryset.filter(Q(owner__in=users) | Q(pk__in=ids)), False
        return titled, False

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        texts = may_read_texts(request)
        context["texts"] = texts
        if texts:
            context["transcript"] = transcript(kwargs["obj"], as_id(request.GET.get("end", "")))
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description="title")
    def title_or_untitled(self, session: ChatSession) -> str:
        return str(session)

    @admin.display(description="owner")
    def who(self, session: ChatSession) -> str:
        return str(session.owner) if session.owner_id else shown(f"guest:{session.guest}")

    @admin.display(description="messages")
    def messages_counted(self, session: Any) -> str:
        return f"more than {COUNTED:,}" if session.counted > COUNTED else f"{session.counted:,}"

    @admin.display(description="state")
    def state(self, session: Any) -> SafeString | str:
        if session.going:
            return format_html('<span class="chat-live">{}</span>', "live")
        return "archived" if session.archived else ""
