"""All under /api/. Streams first: REST takes what is left."""

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import include, path

from chat.api.app import api
from chat.transports.sse import events, stream
from chat.transports.stop import stop
from chat.transports.text import text


def nothing_here(request: HttpRequest) -> HttpResponse:
    raise Http404


urlpatterns = [
    path("stream", stream),
    path("text", text),
    path("runs/<str:run>/events", events),
    path("runs/<str:run>/stop", stop),
    path("", include("chat.transports.aisdk.urls")),
    path("", nothing_here),  # ninja would name its docs there
    path("", api.urls),
]
