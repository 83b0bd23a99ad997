from dataclasses import dataclass
from uuid import UUID

from django.db.models import QuerySet

from chat.models import ChatSession, Message, Run
from chat.protocol.errors import ChatError


@dataclass(frozen=True)
class Owner:
    """Who asks: a user, or a guest known by a secret id. What is theirs is found through here and nowhere else."""

    user: int | None = None
    guest: str = ""

    @property
    def requester(self) -> str:
        return f"user:{self.user}" if self.user is not None else f"guest:{self.guest}"

    def sessions(self) -> QuerySet[ChatSession]:
        if self.user is not None:
            return ChatSession.objects.filter(owner_id=self.user)
        # An empty guest id would match every user's chat sessions.
        return ChatSession.objects.filter(guest=self.guest) if self.guest else ChatSession.objects.none()

    def session(self, id_: UUID, *, lock: bool = False) -> ChatSession:
        """`lock`: until the transaction ends. Two tabs that send at once are told apart by it.

        SQLite has no row locks and ignores it: it has one writer. Without waiting: the engine tries again, and the
        thread is free for others meanwhile.
        """
        rows = self.sessions().select_for_update(nowait=True) if lock else self.sessions()
        found = rows.filter(id=id_).first()
        if found is None:
            raise not_found("chat session")
        return found

    def message(self, id_: UUID) -> Message:
        found = Message.objects.filter(id=id_, session__in=self.sessions()).select_related("session").first()
        if found is None:
            raise not_found("message")
        return found

    def run(self, id_: UUID) -> Run:
        found = Run.objects.filter(id=id_, session__in=self.sessions()).first()
        if found is None:
            raise not_found("run")
        return found


def not_found(what: str) -> ChatError:
    """The same for what does not exist and for what is somebody else's: the answer must not tell them apart."""
    return ChatError("not_found", f"There is no such {what}, or it is not yours.")
