from django.contrib import admin
from django.urls import include, path

from chat.web.forms import AdminSignInForm

# The same limit on guessing passwords as on the page's own sign-in.
admin.site.login_form = AdminSignInForm

handler500 = "chat.web.unavailable.server_error"

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/", include("chat.urls")),
    path("", include("chat.web.urls")),
]
