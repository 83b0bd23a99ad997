"""Starts a run: one transaction that finds what the same key started before, or inserts prompt, answer and run."""

import hashlib
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from django.conf import settings
from django.utils import timezone

from chat.models import ChatSession, Message, Run
from chat.protocol.errors import ChatError
from chat.protocol.frames import RunAccepted
from chat.protocol.operations import MessageRegenerate, Options, PromptSend
from chat.runs import client_turn, prompts, statements
from chat.runs.claim import Claim, claim_of
from chat.runs.client_turn import ClientTurn
from chat.runs.owner import Owner
from chat.runs.prompts import Place

IDEMPOTENCY = timedelta(hours=24)
# How long ago a prompt was sent that is taken for the same one, sent again by a client that never had its answer.
UNDER_WAY = timedelta(minutes=1)

AnyPrompt = PromptSend | MessageRegenerate | ClientTurn


class Accepted(NamedTuple):
    """What a prompt became. `claim` is there when this very process is to execute the run, `title` when it named the
    chat session."""

    session: UUID
    user_message: UUID
    message: UUID
    run: UUID
    repeat: bool = False
    claim: Claim | None = None
    title: str = ""

    @property
    def queued(self) -> bool:
        """It was stored just now, for a worker to find."""
        return not self.repeat and self.claim is None

    def frame(self, re: str | None) -> RunAccepted:
        return RunAccepted(
            re=re,
            session=str(self.session),
            user_message=str(self.user_message),
            message=str(self.message),
            run=str(self.run),
            repeat=self.repeat,
        )


class Terms(NamedTuple):
    """What `begin` has to know and cannot look up in the database."""

    models: frozenset[str]
    default_model: str
    worker: str | None  # claims the run at once, in the name of this worker
    run: UUID  # the new run's id, made beforehand: a second try finds what the first one committed


def begin(owner: Owner, asked: AnyPrompt, terms: Terms, *, again: bool = False) -> Accepted:
    """Raises ChatError. Runs inside a transaction; SQLite has one writer, elsewhere the chat session is locked.

    `again`: a try with these terms failed before, and it is not known whether that was before or after its commit.
    """
    if again and (begun := _begun(terms)):
        return begun
    fingerprint = _fingerprint(asked)
    answered = client_turn.release_key(owner, asked) if isinstance(asked, ClientTurn) else None
    if asked.id and (earlier := _earlier(owner, asked.id, fingerprint)):
        return earlier
    _check_limits(owner.requester)
    session, prompt, missing = _place(owner, asked, answered)
    title = session.title if session._state.adding else ""
    answer = Message(session=session, parent=prompt, role=Message.Role.ASSISTANT, status=Message.Status.STREAMING)
    answer.model = _model(asked.model or session.model, asked.model, terms)
    if not session.title and prompt.parent_id is None:
        title = prompts.first_words(prompt.text)
    _save(session, asked, answer, title)
    if missing:
        Message.objects.bulk_create(missing)
    if prompt._state.adding:
        statements.NEW_MESSAGES.run(prompt, answer)
    else:
        statements.NEW_MESSAGE.run(answer)
    run = _run(owner, asked, answer, fingerprint, terms)
    opening = "" if prompt.parent_id else prompt.text
    claim = claim_of(run, top=0, opening=opening) if terms.worker else None
    return Accepted(session.id, prompt.id, answer.id, run.id, claim=claim, title=title)


def _place(owner: Owner, asked: AnyPrompt, answered: UUID | None) -> Place:
    match asked:
        case MessageRegenerate(message=message):
            return Place(*_prompt_of(owner, message))
        case ClientTurn():
            return client_turn.place(owner, asked, answered)
        case PromptSend():
            return Place(*prompts.new(owner, asked))


def _begun(terms: Terms) -> Accepted | None:
    run = Run.objects.select_related("session", "message").filter(id=terms.run).first()
    if run is None:
        return None
    prompt = run.message.parent_id
    assert prompt is not None
    claim = claim_of(run, top=0) if terms.worker else None
    return Accepted(run.session_id, prompt, run.message_id, run.id, claim=claim, title=run.session.title)


def _save(session: ChatSession, asked: AnyPrompt, answer: Message, title: str) -> None:
    # The foreign key is checked at the end of the transaction, so the leaf may be named before it is inserted.
    session.active_leaf_id = answer.id
    session.model = asked.model or session.model
    session.title = title or session.title
    if session._state.adding:
        statements.NEW_SESSION.run(session)
    else:
        session.save(update_fields=["active_leaf", "model", "updated", *(["title"] if title else [])])


def _fingerprint(asked: AnyPrompt) -> str:
    if isinstance(asked, ClientTurn):
        return ""  # its key says what was asked
    body = msgspec.structs.replace(asked, id=None)
    return hashlib.sha256(msgspec.json.encode(body)).hexdigest()


def _earlier(owner: Owner, key: str, fingerprint: str) -> Accepted | None:
    runs = statements.RUNS_OF_KEY.rows(requester=owner.requester, idempotency_key=key)
    for created, earlier, session, prompt, message, run in runs:
        if created < timezone.now() - IDEMPOTENCY:
            Run.objects.filter(id=run).update(idempotency_key=None)
        elif earlier != fingerprint:
            raise ChatError("conflict", "This id was used for another prompt. Give every new prompt an id of its own.")
        else:
            return Accepted(session, prompt, message, run, repeat=True)
    return None


def under_way(owner: Owner, asked: AnyPrompt) -> Accepted | None:
    """The run that the same prompt of this owner started just now, unless it has ended: for who could give no id."""
    runs = Run.objects.filter(requester=owner.requester, ended=None, created__gte=timezone.now() - UNDER_WAY)
    run = runs.filter(fingerprint=_fingerprint(asked)).select_related("message").order_by("-created").first()
    if run is None or run.message.parent_id is None:
        return None
    return Accepted(run.session_id, run.message.parent_id, run.message_id, run.id, repeat=True)


def _check_limits(requester: str) -> None:
    a_minute_ago = timezone.now() - timedelta(minutes=1)
    mine = [unended for (unended,) in statements.MY_RUNS.rows(requester=requester, created=a_minute_ago)]
    active, recent = mine.count(True), mine.count(False)
    if active >= settings.CHAT_RUNS_PER_USER:
        raise ChatError(
            "rate_limited",
            f"{active} answers are being written for you already. Wait for one or stop one.",
            retry_after_s=2,
        )
    if recent >= settings.CHAT_PROMPTS_PER_MINUTE:
        raise ChatError(
            "rate_limited",
            f"More than {settings.CHAT_PROMPTS_PER_MINUTE} prompts in a minute. Wait a little, then send it again.",
            retry_after_s=10,
        )


def _prompt_of(owner: Owner, message: UUID) -> tuple[ChatSession, Message]:
    answer = owner.message(message)
    if answer.role != Message.Role.ASSISTANT or answer.parent_id is None:
        raise ChatError("bad_frame", "Only an answer can be regenerated: give an assistant message.", field="message")
    session = owner.session(answer.session_id, lock=True)
    return session, Message.objects.get(id=answer.parent_id)


def _model(wanted: str, asked: str | None, terms: Terms) -> str:
    if not terms.models or wanted in terms.models:
        return wanted or terms.default_model
    if asked:
        raise unknown_model(terms.models)
    return terms.default_model  # the chat session's own model is gone


def _run(owner: Owner, asked: AnyPrompt, answer: Message, fingerprint: str, terms: Terms) -> Run:
    options: dict[str, Any] = msgspec.to_builtins(asked.options) if asked.options != Options() else {}
    run = Run(
        id=terms.run,
        session=answer.session,
        message=answer,
        requester=owner.requester,
        idempotency_key=asked.id,
        fingerprint=fingerprint,
        model=answer.model,
        options=options,
    )
    if terms.worker:
        # Claimed at birth: this process has room, so the way through the queue would only cost a second transaction.
        run.status, run.attempt, run.epoch, run.lease_owner = Run.Status.RUNNING, 1, 1, terms.worker
        statements.NEW_CLAIMED_RUN.run(run, lease=timedelta(seconds=settings.CHAT_LEASE_SECONDS))
    else:
        statements.NEW_RUN.run(run)
    return run


def unknown_model(known: Iterable[str]) -> ChatError:
    names = ", ".join(sorted(known)[:10])
    return ChatError("unknown_model", f"There is no model of this name here. Known are: {names}.", field="model")
