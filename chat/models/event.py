from django.db import models


class RunEvent(models.Model):
    """One entry of a run's log. `seq` is contiguous from 1 over the run's whole life, attempts included."""

    # By the run's `log_id`, eight bytes: with its UUID, 32 characters in SQLite, an event costs twice as much to store.
    pk = models.CompositePrimaryKey("run_id", "seq")
    # No constraint in the database: it would look the run up again for every chunk, and the append joins it already.
    run = models.ForeignKey(
        "chat.Run", models.CASCADE, to_field="log_id", related_name="events", db_index=False, db_constraint=False
    )
    seq = models.PositiveIntegerField()
    type = models.CharField(max_length=32)
    # Text, not JSONField: these are the very bytes that went over the wire, and Postgres' jsonb refuses \u0000.
    data = models.TextField(help_text="A JSON object: the event's own fields.")

    class Meta:
        verbose_name = "run event"

    def __str__(self) -> str:
        return f"{self.type} {self.seq}"
