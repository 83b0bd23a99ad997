"""Middleware that runs as sync or as async, whichever is around it.

One that can only be sync would make Django read whole streams into memory before it sends them.
"""

from collections.abc import Awaitable, Callable
from typing import Any, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase

Handler = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


class Middleware:
    """Override `before` and `after`; neither may wait."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Handler) -> None:
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(cast(Any, self))

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        self.before(request)
        if self._is_async:
            return self._later(request)
        return self.after(request, cast(HttpResponseBase, self._get_response(request)))

    async def _later(self, request: HttpRequest) -> HttpResponseBase:
        return self.after(request, await cast(Awaitable[HttpResponseBase], self._get_response(request)))

    def before(self, request: HttpRequest) -> None:
        """Of every request."""

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """The response to send."""
        return response
