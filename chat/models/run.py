from django.db import models
from django.db.models import Q

from chat.models.ids import new_id, new_log_id


class Run(models.Model):
    """One generation: it writes one assistant message, in one attempt or, after a take-over, in more.

    `epoch` fences: it grows with every claim, and only the holder of the newest one may append or end the run.
    """

    class Status(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        COMPLETED = "completed"
        STOPPED = "stopped"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    log_id = models.BigIntegerField(unique=True, default=new_log_id, editable=False, help_text="Its key in the log.")
    session = models.ForeignKey("chat.ChatSession", models.CASCADE, related_name="runs", db_index=False)
    message = models.OneToOneField("chat.Message", models.CASCADE, related_name="run")
    status = models.CharField(max_length=10, choices=Status, default=Status.QUEUED)
    stop_requested = models.BooleanField(default=False)

    requester = models.CharField(max_length=60, help_text="Who asked: `user:<id>` or `guest:<id>`.")
    idempotency_key = models.CharField(max_length=64, null=True, blank=True)  # noqa: DJ001  NULLs don't collide, "" do
    fingerprint = models.CharField(max_length=64, blank=True, help_text="sha256 of what was asked under that key.")

    model = models.CharField(max_length=200)
    options = models.JSONField(default=dict, blank=True)
    attempt = models.PositiveIntegerField(default=0)
    handovers = models.PositiveIntegerField(default=0, help_text="Attempts that a clean shutdown gave back.")
    epoch = models.PositiveIntegerField(default=0)
    lease_owner = models.CharField(max_length=100, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)

    created = models.DateTimeField(auto_now_add=True)
    started = models.DateTimeField(null=True, blank=True)
    ended = models.DateTimeField(null=True, blank=True)
    first_token_ms = models.PositiveIntegerField(null=True, blank=True)
    total_ms = models.PositiveIntegerField(null=True, blank=True)

    finish_reason = models.CharField(max_length=20, blank=True)
    input_tokens = models.PositiveIntegerField(null=True, blank=True)
    output_tokens = models.PositiveIntegerField(null=True, blank=True)
    reasoning_tokens = models.PositiveIntegerField(null=True, blank=True)
    usage_estimated = models.BooleanField(default=False)
    error_code = models.CharField(max_length=40, blank=True)
    error_message = models.CharField(max_length=500, blank=True, help_text="What the user was told.")
    error_retryable = models.BooleanField(default=False)
    error_status = models.PositiveSmallIntegerField(null=True, blank=True, help_text="The upstream's HTTP status.")
    error_detail = models.TextField(blank=True, help_text="The upstream's own words: for operators only.")
    request_id = models.CharField(max_length=200, blank=True, help_text="The upstream's x-request-id.")
    retries = models.PositiveSmallIntegerField(default=0, help_text="Refused upstream calls before the first token.")
    folded = models.BooleanField(
        null=True, help_text="Its message took its events over. No: they are kept, as they say something else."
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["requester", "idempotency_key"], name="run_idempotency_key"),
        ]
        indexes = [
            # `ended IS NULL`, not a status: a planner cannot prove that a bound parameter fits a partial index.
            # Not by `lease_until`: a lease is renewed each second, which would then write to every index of the row.
            models.Index(fields=["created"], name="run_unended", condition=Q(ended=None)),
            # With `ended`: only for a covering index does SQLite leave that of all of a requester's runs alone.
            models.Index(fields=["requester", "ended"], name="run_unended_of_requester", condition=Q(ended=None)),
            models.Index(fields=["ended"], name="run_to_fold", condition=Q(folded=None, ended__isnull=False)),
            models.Index(fields=["session", "-created"], name="run_of_session"),
            models.Index(fields=["requester", "-created"], name="run_of_requester"),
            models.Index(fields=["created"], name="run_created"),
            models.Index(fields=["status", "-created"], name="run_by_status"),
            models.Index(fields=["model", "-created"], name="run_by_model"),
            models.Index(fields=["-created"], name="run_estimated", condition=Q(usage_estimated=True)),
            models.Index(fields=["request_id"], name="run_request_id"),
        ]

    def __str__(self) -> str:
        return f"run {self.id}"
