from typing import Any

from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm, UserCreationForm
from django.core.exceptions import ValidationError

from chat.web.throttle import LoginThrottle, address_of


class SignInForm(AuthenticationForm):
    # The same words for a wrong password, an unknown name and a closed account.
    error_messages = {
        "invalid_login": "This name and password do not belong to an account.",
        "inactive": "This name and password do not belong to an account.",
    }

    def clean(self) -> dict[str, Any]:
        throttle = LoginThrottle(self.cleaned_data.get("username", ""), address_of(self.request))
        if not throttle.allows_one_more():
            raise ValidationError("Too many tries. Wait a minute, then try again.", code="throttled")
        cleaned: dict[str, Any] = super().clean()
        throttle.forget()
        return cleaned


class AdminSignInForm(SignInForm, AdminAuthenticationForm):
    """The admin's own sign-in page, with the same limit."""


class ChangePasswordForm(PasswordChangeForm):
    """Whoever finds a browser signed in must not be able to try passwords without end."""

    def clean_old_password(self) -> str:
        throttle = LoginThrottle(self.user.get_username(), "password change")
        if not throttle.allows_one_more():
            raise ValidationError("Too many tries. Wait a minute, then try again.", code="throttled")
        password: str = super().clean_old_password()
        throttle.forget()
        return password


class SignUpForm(UserCreationForm):  # type: ignore[type-arg]
    pass
