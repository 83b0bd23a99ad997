"""All under /api/. Streams first: REST takes what is left."""

from django.urls import include, path

from chat.api.app import api

urlpatterns = [
    path("", include("chat.transports.aisdk.urls")),
    path("", api.urls),
]
