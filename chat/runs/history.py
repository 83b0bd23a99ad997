"""What a chat session holds, as its clients see it."""

from typing import Any
from uuid import UUID

from django.db.models.functions import Now

from chat.models import ChatSession, Message, Run
from chat.protocol.errors import ChatError
from chat.protocol.frames import MessageState, SessionInfo, SessionState, Snapshot
from chat.runs import tree
from chat.runs.follow import snapshot
from chat.runs.owner import Owner

PAGE = 50


def state(owner: Owner, session_id: UUID, before: UUID | None = None) -> SessionState:
    """The newest page of the active branch, or the one before message `before`, and the runs that are not ended."""
    session = owner.session(session_id)
    # The runs first: their events follow from these snapshots on, so what is read later may only be newer.
    running = [snapshot(run) for run in active_runs(session)] if before is None else []
    messages, more = branch(session, before, snapshots=running if before is None else None)
    return SessionState(session=info(session), messages=messages, more=more, runs=running)


def active_runs(session: ChatSession) -> list[UUID]:
    return list(Run.objects.filter(session=session, ended=None).order_by("created").values_list("id", flat=True))


def branch(
    session: ChatSession,
    before: UUID | None = None,
    most: int = PAGE,
    snapshots: list[Snapshot] | None = None,
    leaf: UUID | None = None,
) -> tuple[list[MessageState], str | None]:
    """A page of the branch that ends with `leaf`, else of the active one, oldest first, and the cursor of the page
    before it (None: there is none).

    A message that streams shows what its run's snapshot in `snapshots` holds; one that is missing there is added.
    """
    if before is None:
        leaf = leaf or session.active_leaf_id
        ids = tree.path(leaf, most + 1) if leaf else []
    else:
        _check_in(session, before, "before")
        ids = tree.path(before, most + 2)[1:]
    more = str(ids[most - 1]) if len(ids) > most else None
    ids = ids[:most]
    found = {message.id: message for message in Message.objects.filter(id__in=ids).select_related("run")}
    messages = [found[id_] for id_ in reversed(ids) if id_ in found]
    families = tree.siblings(session.id, {message.parent_id for message in messages})
    live = snapshots if snapshots is not None else []
    return [_message(message, families, live) for message in messages], more


def branch_through(
    session: ChatSession, message: UUID, before: UUID | None, most: int
) -> tuple[list[MessageState], str | None]:
    """As `branch`, of the one through `message`, which need not be the active one."""
    _check_in(session, message, "branch")
    return branch(session, before, most, leaf=tree.newest_leaf(message))


def message(owner: Owner, id_: UUID) -> MessageState:
    found = owner.message(id_)
    return _message(found, tree.siblings(found.session_id, {found.parent_id}), [])


def _check_in(session: ChatSession, message: UUID, field: str) -> None:
    if not Message.objects.filter(id=message, session=session).exists():
        raise ChatError("not_found", "There is no such message in this chat session.", field=field)


def select(owner: Owner, session_id: UUID, message_id: UUID) -> str:
    """Make the branch through the message the active one; the id of its leaf."""
    session = owner.session(session_id)
    _check_in(session, message_id, "message")
    leaf = tree.newest_leaf(message_id)
    ChatSession.objects.filter(id=session.id).update(active_leaf=leaf, updated=Now())
    return str(leaf)


def info(session: ChatSession) -> SessionInfo:
    return SessionInfo(
        id=str(session.id),
        title=session.title,
        model=session.model,
        system=session.system_prompt,
        active=str(session.active_leaf_id) if session.active_leaf_id else None,
        archived=session.archived,
        created=session.created.isoformat(),
        updated=session.updated.isoformat(),
    )


def _message(message: Message, families: dict[UUID | None, list[str]], live: list[Snapshot]) -> MessageState:
    run: Run | None = getattr(message, "run", None)
    parts, text = message.parts, message.text
    if message.status == Message.Status.STREAMING and run is not None:
        shown = next((state for state in live if state.message == str(message.id)), None)
        if shown is None:
            # It began after the others were looked up. What is shown of it now must be what its events go on from.
            live.append(shown := snapshot(run.id))
        parts, text = shown.parts, shown.text
    return MessageState(
        id=str(message.id),
        role=message.role,
        parent=str(message.parent_id) if message.parent_id else None,
        siblings=families.get(message.parent_id, [str(message.id)]),
        parts=parts,
        text=text,
        status=message.status,
        created=message.created.isoformat(),
        run=str(run.id) if run else None,
        model=message.model or None,
        usage=usage(run) if run else None,
        error=error(run) if run else None,
    )


def usage(run: Run) -> dict[str, Any] | None:
    """None while it is not known."""
    if run.ended is None or run.output_tokens is None:
        return None
    return {
        "input_tokens": run.input_tokens,
        "output_tokens": run.output_tokens,
        "reasoning_tokens": run.reasoning_tokens,
        "cost_usd": None,
        "estimated": run.usage_estimated,
    }


def error(run: Run) -> dict[str, Any] | None:
    """Why it failed, in words for its user; None if it did not."""
    if not run.error_code:
        return None
    return {"code": run.error_code, "message": run.error_message, "retryable": run.error_retryable}
