from django.contrib.auth.views import LogoutView
from django.urls import path

from chat.web import accounts, views

# Imported for its signal receiver: whoever signs in does it through these URLs.
__all__ = ["accounts"]

urlpatterns = [
    path("", views.chat, name="chat"),
    path("c/<uuid:session>/", views.chat, name="chat-session"),
    path("login/", views.Login.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("signup/", views.SignUp.as_view(), name="signup"),
    path("password/", views.PasswordChange.as_view(), name="password-change"),
]
