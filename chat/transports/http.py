"""HTTP under /api/: who sends a request, what its body says, and how it is refused.

A request is identified by its API token or its session cookie, as a socket is. A cookie is sent by the browser
whichever site asked, so a request that changes something needs proof that our own page sent it: Django's CSRF token,
or (`csrf="origin"`, for clients that know of no tokens) an Origin that is on the list. Where a safe method changes
something, `same_origin` is that proof. A token proves itself, and without both there is no authority to abuse.
"""

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeVar

import msgspec
from django.conf import settings
from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent
from django.http import HttpRequest, HttpResponse, JsonResponse, RawPostDataException
from django.http.response import HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware

from chat.protocol.errors import ERRORS, RETRY_AFTER_SECONDS, ChatError
from chat.protocol.faults import bad_value
from chat.transports import desk
from chat.transports.access import GUEST_KEY, Credentials, Refused, Visitor, bearer, identify
from chat.transports.desk import Desk

Csrf = Literal["token", "origin"]
View = Callable[..., Coroutine[Any, Any, HttpResponseBase]]
Refuse = Callable[[ChatError, int | None], HttpResponse]
Body = TypeVar("Body")

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def endpoint(
    *methods: str, csrf: Csrf = "token", changes: bool = False, refuse: Refuse | None = None
) -> Callable[[View], View]:
    """Makes a view of `async def f(request, desk, visitor, …)`, which may raise ChatError.

    `changes`: whatever its method it needs a token with the scope `write`, as an unsafe method always does, or else,
    being safe, a page of ours that sends it.
    `refuse`: makes the response of an error, of a status if it is not the code's; by default `error_response`.
    """
    answer = refuse or error_response

    def decorate(function: View) -> View:
        @functools.wraps(function)
        async def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if request.method not in methods:
                return _wrong_method(methods, answer)
            try:
                if changes:
                    _check_page(request)
                at, visitor = await admit(request, csrf=csrf, changes=changes)
                if changes or request.method not in SAFE_METHODS:
                    visitor.check_may_write()
                return await function(request, at, visitor, *args, **kwargs)
            except ChatError as error:
                return answer(error, None)

        view.csrf_exempt = True  # type: ignore[attr-defined]  # `admit` asks for it where a cookie counts
        view.methods = methods  # type: ignore[attr-defined]
        return view

    return decorate


async def admit(request: HttpRequest, *, csrf: Csrf = "token", changes: bool = False) -> tuple[Desk, Visitor]:
    """The process' desk and who asks. Raises ChatError.

    A guest without a cookie gets one when there may be something to come back to: not for reading, as each is stored.
    """
    credentials = credentials_of(request, csrf)
    try:
        at = await desk.open_desk()
        visitor = await at.engine.read(identify, credentials)
    except Refused as refused:
        if refused.code is not None and desk.open_engine() is None:
            raise ChatError("unavailable", "The server is stopping. Try again in a moment.") from None
        raise ChatError("unauthenticated", refused.reason) from None
    if visitor.guest and visitor.session_key is None and (changes or request.method not in SAFE_METHODS):
        await request.session.aset(GUEST_KEY, visitor.owner.guest)
    return at, visitor


def credentials_of(request: HttpRequest, csrf: Csrf = "token") -> Credentials:
    """Raises ChatError: unauthenticated, forbidden."""
    authorization = request.headers.get("Authorization")
    if authorization is not None:
        token = bearer(authorization)
        if token is None:
            raise ChatError("unauthenticated", "The Authorization header is not `Bearer <API token>`.")
        return Credentials(token=token)
    key = request.COOKIES.get(settings.SESSION_COOKIE_NAME) or None
    if request.method not in SAFE_METHODS:
        _check_sender(request, csrf, signed=key is not None)
    return Credentials(session_key=key)


def _check_sender(request: HttpRequest, csrf: Csrf, *, signed: bool) -> None:
    origin = request.headers.get("Origin")
    if origin is not None and origin.lower() not in settings.ALLOWED_ORIGINS:
        raise ChatError("forbidden", "The Origin is not on the list ALLOWED_ORIGINS. Use an API token from there.")
    if not signed:
        return  # a program without a cookie: whatever site made it ask, it has no authority to abuse
    if csrf == "origin":
        if origin is None:
            raise ChatError("forbidden", "A request with a cookie needs an Origin. Programs use an API token.")
    elif _csrf_fails(request):
        raise ChatError("forbidden", "The CSRF token is missing or wrong: send the cookie's as X-CSRFToken.")


def _csrf_fails(request: HttpRequest) -> bool:
    check = CsrfViewMiddleware(_never)
    check.process_request(request)
    try:
        refusal: HttpResponse | None = check.process_view(request, _never, (), {})  # its stub forgets the None
    except RequestDataTooBig:  # a form, in which it looked for the token
        raise ChatError("too_large", "The body is too large. Send less at once.") from None
    return refusal is not None


def _never(_: HttpRequest) -> HttpResponse:
    raise AssertionError("only the check is wanted of this middleware")


def _check_page(request: HttpRequest) -> None:
    if request.method not in SAFE_METHODS or "Authorization" in request.headers:
        return
    if not (same_origin(request) and _by_script(request)):
        raise ChatError("forbidden", "Only a page of this server may ask this by GET. Programs use POST, or a token.")


def _by_script(request: HttpRequest) -> bool:
    """Whether a script of the page asked, not a picture or a link in it: an answer of the model may hold those."""
    destination = request.headers.get("Sec-Fetch-Dest")
    if destination is not None:
        return destination == "empty"
    accept = request.headers.get("Accept", "*/*")
    return accept == "*/*" or "text/event-stream" in accept


def same_origin(request: HttpRequest) -> bool:
    """Whether a page of ours sent this: for GET requests that change something and bring no token."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    sender = request.headers.get("Origin") or request.headers.get("Referer") or ""
    return "/".join(sender.split("/")[:3]).lower() in settings.ALLOWED_ORIGINS


def query_of(request: HttpRequest) -> dict[str, str]:
    """The last value of each field. Raises ChatError: bad_frame."""
    try:
        return request.GET.dict()
    except TooManyFieldsSent:
        raise ChatError("bad_frame", "The query has too many fields.") from None


def decode_body(request: HttpRequest, kind: type[Body]) -> Body:
    """The JSON body as `kind`, a msgspec type. Raises ChatError: bad_json, bad_frame, too_large."""
    try:
        return msgspec.json.decode(request.body, type=kind)
    except RawPostDataException:  # the check for a CSRF token has read it, as a form
        raise ChatError("bad_json", "Send JSON, with the header Content-Type: application/json.") from None
    except RequestDataTooBig:
        raise ChatError("too_large", "The body is too large. Send less at once.") from None
    except msgspec.ValidationError as error:
        raise bad_value(str(error), "this call") from None
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise ChatError("bad_json", "The body is not JSON. Send one JSON object.") from None


def error_response(error: ChatError, status: int | None = None) -> JsonResponse:
    """`{"error": {"code", "message", "retryable", …}}` with the status that the code has."""
    body: dict[str, Any] = {"code": error.code, "message": error.message, "retryable": error.retryable}
    extra = {"field": error.field, "top": error.top, "retry_after_s": error.retry_after_s}
    body.update((name, value) for name, value in extra.items() if value is not None)
    response = JsonResponse({"error": body}, status=status or ERRORS[error.code].status)
    response["Cache-Control"] = "no-store"
    if response.status_code == 401:
        response["WWW-Authenticate"] = "Bearer"
    if response.status_code in {429, 503}:
        response["Retry-After"] = str(max(1, round(error.retry_after_s or RETRY_AFTER_SECONDS)))
    return response


def _wrong_method(methods: tuple[str, ...], refuse: Refuse) -> HttpResponse:
    response = refuse(ChatError("bad_frame", f"Use {' or '.join(methods)} here."), 405)
    response["Allow"] = ", ".join(methods)
    return response
