from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth import views as auth
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_safe
from django.views.generic import FormView

from chat.models import ChatSession
from chat.protocol.errors import ChatError
from chat.protocol.frames import MessageState
from chat.runs import history
from chat.runs.owner import Owner
from chat.web.forms import ChangePasswordForm, SignInForm, SignUpForm
from chat.web.visitors import owner_of

LISTED_SESSIONS = 100


@never_cache
@require_safe
@ensure_csrf_cookie  # for what the page asks of /api/: a guest is shown no form that would set it
def chat(request: HttpRequest, session: UUID | None = None) -> HttpResponse:
    """The whole page: a new chat, or the active branch of one chat session. Readable before any script runs."""
    owner = owner_of(request)
    if owner is None:
        return redirect_to_login(request.get_full_path())
    opened, messages, more = None, list[MessageState](), None
    if session is not None:
        opened, messages, more = _read(owner, session, _cursor(request))
    context = {
        "sessions": owner.sessions().filter(archived=False).order_by("-updated")[:LISTED_SESSIONS],
        "session": opened,
        # Not "messages": that name is the context processor's, for notices.
        "branch": messages,
        "more": more,
        "earlier": "before" in request.GET,
        "demo": not settings.OPENAI_API_KEY and not settings.OPENAI_BASE_URL,
        "sign_up": settings.CHAT_SIGN_UP,
        "prompt_chars": settings.CHAT_PROMPT_CHARS,
    }
    return render(request, "chat/page.html", context)


def _read(owner: Owner, id_: UUID, before: UUID | None) -> tuple[ChatSession, list[MessageState], str | None]:
    try:
        session = owner.session(id_)
        messages, more = history.branch(session, before)
    except ChatError as error:
        raise Http404(error.message) from error
    return session, messages, more


def _cursor(request: HttpRequest) -> UUID | None:
    if "before" not in request.GET:
        return None
    try:
        return UUID(request.GET["before"])
    except ValueError as error:
        raise Http404("not a cursor") from error


class Login(auth.LoginView):
    form_class = SignInForm
    template_name = "chat/account.html"
    extra_context = {"heading": "Sign in", "action": "Sign in"}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(sign_up=settings.CHAT_SIGN_UP, guests=settings.CHAT_GUESTS, **kwargs)


class SignUp(FormView):  # type: ignore[type-arg]  # not subscriptable at run time
    form_class = SignUpForm
    template_name = "chat/account.html"
    success_url = reverse_lazy("chat")
    extra_context = {"heading": "Create an account", "action": "Create account", "sign_in": True}

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not settings.CHAT_SIGN_UP:
            raise Http404("sign-up is off")
        return super().dispatch(request, *args, **kwargs)  # type: ignore[return-value]

    def form_valid(self, form: SignUpForm) -> HttpResponse:
        login(self.request, form.save())
        return super().form_valid(form)


class PasswordChange(auth.PasswordChangeView):
    form_class = ChangePasswordForm
    template_name = "chat/account.html"
    success_url = reverse_lazy("chat")
    extra_context = {"heading": "Change password", "action": "Change password"}
