from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig
from django.db.models.signals import post_migrate


class ChatConfig(AppConfig):
    name = "chat"
    verbose_name = "Chat"

    def ready(self) -> None:
        from chat import checks  # noqa: F401, PLC0415  registers the system checks, which need loaded settings
        from chat.models import search_index  # noqa: PLC0415  its package has the models
        from chat.transports import account_signals  # noqa: PLC0415  its floors need loaded models

        account_signals.connect()
        post_migrate.connect(search_index.mend, sender=self, dispatch_uid="mend_search_index")


class ChatAdminConfig(AdminConfig):
    default = False
