from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class ChatConfig(AppConfig):
    name = "chat"
    verbose_name = "Chat"

    def ready(self) -> None:
        from chat import checks  # noqa: F401, PLC0415  registers the system checks, which need loaded settings
        from chat.transports import account_signals  # noqa: PLC0415  its floors need loaded models

        account_signals.connect()


class ChatAdminConfig(AdminConfig):
    default = False
