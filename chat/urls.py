"""All under /api/. Streams first: REST takes what is left."""

from django.urls import path

from chat.api.app import api

urlpatterns = [
    path("", api.urls),
]
