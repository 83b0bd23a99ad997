from django.conf import settings
from django.db import models
from django.db.models import Q

from chat.models.ids import new_id


class ChatSession(models.Model):
    """One conversation: a tree of messages, owned by a user or by a guest."""

    class TitledBy(models.TextChoices):
        PROMPT = "prompt", "first words of the prompt"
        MODEL = "model", "the model"
        USER = "user", "the user"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, null=True, blank=True, related_name="chat_sessions", db_index=False
    )
    guest = models.CharField(max_length=40, blank=True, help_text="The guest's secret id, kept in its cookie session.")
    title = models.CharField(max_length=200, blank=True)
    titled_by = models.CharField(max_length=8, choices=TitledBy, default=TitledBy.PROMPT)
    model = models.CharField(max_length=200, blank=True)
    system_prompt = models.TextField(blank=True)
    active_leaf = models.ForeignKey(
        "chat.Message", models.SET_NULL, null=True, blank=True, related_name="+", db_index=False
    )
    archived = models.BooleanField(default=False)
    import_key = models.CharField(  # noqa: DJ001  NULLs don't collide, "" do
        max_length=64, null=True, blank=True, editable=False, help_text="What it was imported from, hashed."
    )
    import_digest = models.CharField(  # noqa: DJ001
        max_length=64, null=True, blank=True, editable=False, help_text="What was in it, hashed."
    )
    created = models.DateTimeField(auto_now_add=True)
    updated = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = "chat session"
        constraints = [
            models.CheckConstraint(
                name="chatsession_one_owner", condition=Q(owner=None) ^ Q(guest=""), violation_error_message="one owner"
            ),
            models.UniqueConstraint(
                fields=["owner", "import_key"],
                condition=Q(import_key__isnull=False),
                name="chatsession_import_of_owner",
            ),
            models.UniqueConstraint(
                fields=["guest", "import_key"],
                condition=Q(import_key__isnull=False) & ~Q(guest=""),
                name="chatsession_import_of_guest",
            ),
        ]
        indexes = [
            # Without `archived`: SQLite gets it as NOT archived, which ends the use of an index that has it inside.
            models.Index(fields=["owner", "-updated"], name="chatsession_of_owner"),
            models.Index(fields=["guest", "-updated"], name="chatsession_of_guest"),
            models.Index(fields=["-updated"], name="chatsession_updated"),
            models.Index(fields=["created"], name="chatsession_created"),
            models.Index(fields=["-updated"], name="chatsession_archived", condition=Q(archived=True)),
        ]

    def __str__(self) -> str:
        return self.title or "Untitled"
