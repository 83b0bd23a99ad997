"""All under /api/. Streams first: REST takes what is left."""

from django.urls import path

from chat.api.app import api
from chat.transports.sse import events, stream
from chat.transports.stop import stop
from chat.transports.text import text

urlpatterns = [
    path("stream", stream),
    path("text", text),
    path("runs/<str:run>/events", events),
    path("runs/<str:run>/stop", stop),
    path("", api.urls),
]
