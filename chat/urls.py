"""All under /api/. Streams first: REST takes what is left."""

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import path

from chat.api.app import api


def nothing_here(request: HttpRequest) -> HttpResponse:
    raise Http404


urlpatterns = [
    path("", nothing_here),  # ninja would name its docs there
    path("", api.urls),
]
