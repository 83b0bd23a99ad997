from django.db import models
from django.db.models import Q

from chat.models.ids import new_id


class Message(models.Model):
    """A node of a chat session's tree. Siblings are edits of a prompt or other answers to it."""

    class Role(models.TextChoices):
        USER = "user"
        ASSISTANT = "assistant"

    class Status(models.TextChoices):
        DONE = "done"
        STREAMING = "streaming"
        STOPPED = "stopped"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    session = models.ForeignKey("chat.ChatSession", models.CASCADE, related_name="messages", db_index=False)
    parent = models.ForeignKey("self", models.CASCADE, null=True, blank=True, related_name="children")
    role = models.CharField(max_length=10, choices=Role)
    status = models.CharField(max_length=10, choices=Status, default=Status.DONE)
    parts = models.JSONField(default=list, help_text="The content in order, in the shape of docs/protocol.md.")
    text = models.TextField(blank=True, help_text="The text parts joined.")
    model = models.CharField(max_length=200, blank=True)
    created = models.DateTimeField(auto_now_add=True)
    fingerprint = models.CharField(  # noqa: DJ001  NULL is not in the index
        max_length=64,
        null=True,
        blank=True,
        editable=False,
        help_text="Of the prompts up to this one: a client that has no name for its chat session is known by it.",
    )

    class Meta:
        indexes = [
            models.Index(fields=["session", "id"], name="message_of_session"),
            models.Index(fields=["created"], name="message_created"),
            models.Index(fields=["status", "-created"], name="message_not_done", condition=~Q(status="done")),
            models.Index(
                fields=["fingerprint", "-id"], name="message_fingerprint", condition=Q(fingerprint__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.role} {self.id}"
