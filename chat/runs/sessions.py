"""What an owner may do with a chat session beside prompting in it. Every change is told to the owner's sockets."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import F

from chat.models import ChatSession, Run
from chat.runs import history, paging, process
from chat.runs.finish import Ending, end_orphan
from chat.runs.notices import SessionNotice, StopRun
from chat.runs.owner import Owner
from chat.runs.start import unknown_model

if TYPE_CHECKING:
    from chat.runs.engine import Engine

LISTED = ("id", "title", "model", "active_leaf_id", "archived", "created", "updated")


class Changes(NamedTuple):
    """None: left as it is."""

    title: str | None = None
    model: str | None = None  # "": the default model
    system: str | None = None
    archived: bool | None = None


def listed(
    owner: Owner, *, archived: bool | None, cursor: str | None, most: int
) -> tuple[list[ChatSession], str | None]:
    """Newest activity first, without their system prompts. `archived` None: both kinds. Raises ChatError."""
    rows = owner.sessions().only(*LISTED)
    if archived is not None:
        rows = rows.filter(archived=archived)
    return paging.page(rows, "updated", cursor, most)


def opened(owner: Owner, id_: UUID) -> tuple[ChatSession, list[UUID]]:
    """A chat session and its runs that are not ended, oldest first. Raises ChatError."""
    session = owner.session(id_)
    return session, history.active_runs(session)


async def create(engine: "Engine", owner: Owner, asked: Changes) -> ChatSession:
    """Raises ChatError."""
    await _check_model(engine, asked.model)
    session = ChatSession(owner_id=owner.user, guest=owner.guest)
    _apply(session, asked)
    await engine.write(session.save)
    engine.notify(SessionNotice(str(session.id), owner.requester, {"title": session.title}))
    return session


async def change(engine: "Engine", owner: Owner, id_: UUID, asked: Changes) -> ChatSession:
    """Raises ChatError."""
    await _check_model(engine, asked.model)
    session = await engine.write(_change, owner, id_, asked)
    told: dict[str, str | bool | None] = {}
    if asked.title is not None:
        told["title"] = session.title
    if asked.archived is not None:
        # With its title: whoever had it off the list may not know it.
        told |= {"title": session.title, "archived": session.archived}
    if told:
        engine.notify(SessionNotice(str(id_), owner.requester, told))
    return session


async def delete(engine: "Engine", owner: Owner, id_: UUID) -> None:
    """With all that is in it. Runs under way end as stopped, for their followers and upstream. Raises ChatError."""
    _tell_deleted(engine, id_, owner.requester, await engine.write(remove, owner, id_))


@transaction.atomic
def delete_as_operator(session: ChatSession) -> None:
    """As `delete`, in a thread that is none of the engine's."""
    requester = Owner(user=session.owner_id, guest=session.guest).requester
    id_, endings = session.id, _remove(session)

    def tell() -> None:
        engine = process.current()
        if engine is not None and engine.loop is not None:
            engine.loop.call_soon_threadsafe(_tell_deleted, engine, id_, requester, endings)

    transaction.on_commit(tell)


def _tell_deleted(engine: "Engine", id_: UUID, requester: str, endings: Sequence[Ending]) -> None:
    for ending in endings:
        engine.publish(ending)
        # Whoever executes it finds that it has lost it; this says so at once.
        engine.notify(StopRun(str(ending.run)))
    engine.notify(SessionNotice(str(id_), requester, {"deleted": True}))


async def _check_model(engine: "Engine", model: str | None) -> None:
    known = [each.id for each in await engine.models()] if model else []
    if known and model not in known:
        raise unknown_model(known)


def _apply(session: ChatSession, asked: Changes) -> list[str]:
    """The columns that were set."""
    columns = {"model": asked.model, "system_prompt": asked.system, "archived": asked.archived}
    if asked.title is not None:
        columns |= {"title": asked.title, "titled_by": ChatSession.TitledBy.USER}
        if not asked.title:
            columns["titled_by"] = ChatSession.TitledBy.PROMPT  # without a name it may be given one
    changed = {name: value for name, value in columns.items() if value is not None}
    for name, value in changed.items():
        setattr(session, name, value)
    return list(changed)


def _change(owner: Owner, id_: UUID, asked: Changes) -> ChatSession:
    session = owner.session(id_)
    # Only these: a run may name its leaf meanwhile. And no `updated`: the list is in the order of what was said.
    if columns := _apply(session, asked):
        owner.sessions().filter(id=id_).update(**{name: getattr(session, name) for name in columns})
    return session


def remove(owner: Owner, id_: UUID) -> list[Ending]:
    """In a transaction. The ends of its runs under way, to be published once it is committed. Raises ChatError."""
    return _remove(owner.session(id_, lock=True))


def _remove(session: ChatSession) -> list[Ending]:
    live = Run.objects.filter(session=session, ended=None)
    live.update(epoch=F("epoch") + 1)  # nobody appends from here on, so each log has its last event but one
    endings = [end_orphan(run, Run.Status.STOPPED) for run in live.order_by("created")]
    session.delete()
    return [ending for ending in endings if ending is not None]
