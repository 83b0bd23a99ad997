"""Each with and without a slash at its end: Django's redirect to it would lose a POST."""

from django.urls import re_path

from chat.transports.aisdk import views

CHAT = r"^chat(?:/(?P<variant>text|data|ui))?"

urlpatterns = [
    re_path(rf"{CHAT}/?$", views.chat),
    re_path(rf"{CHAT}/(?P<chat>.+)/stream/?$", views.resume),
    re_path(rf"{CHAT}/(?P<chat>.+)/stop/?$", views.stop),
]
