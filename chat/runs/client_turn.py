"""A prompt of a client that knows nothing of our tree: it brings all that was said, in its own copy (the AI SDK).

The stored tree is the truth. What the client says is walked down it from the root: a prompt is found by its text, an
answer by its id, else by its text, else it is the newest one that the prompt before it has. Where the client's history
leaves the tree a branch begins. Prompts that are not stored are taken over, as they are the user's own words. Answers
are not: whoever invents one would have the model believe that it was its own.
"""

import hashlib
from collections.abc import Iterable
from typing import Literal, NamedTuple
from uuid import UUID

from django.db.models import Case, TextField, Value, When
from msgspec import Struct

from chat.models import ChatSession, Message, Run
from chat.protocol.operations import Options
from chat.runs import prompts
from chat.runs.owner import Owner
from chat.runs.prompts import Place

# Of the chat sessions in which the same prompts were sent, the newest so many are compared with what was answered.
ALIKE = 20

User, Assistant = Message.Role.USER, Message.Role.ASSISTANT


class Said(Struct, frozen=True):
    """One message of the client's copy. `id`: of an answer, if it has the form of ours."""

    role: Literal["user", "assistant"]
    text: str
    id: UUID | None = None


class ClientTurn(Struct, frozen=True, kw_only=True):
    """`said`: oldest first, at least one, the last is the prompt. A prompt that is stored already gets another answer.

    `chat`: the client's name for its chat session, at most 200 characters; the owner's chat session of this name or
    id, or a new one. None: the one in which the same was said before, or a new one.
    `id`: the idempotency key, made of all that was sent: as long as its run goes on, the same key gives that run.
    `once`: and also after it was completed. Not for clients that ask for another answer by sending the same again.
    `appends`: the prompt alone is sent. It goes to the end of the active branch, or was sent before under this `id`.
    `trusted`: answers that are not stored are taken over too.
    """

    said: tuple[Said, ...]
    chat: str | None = None
    id: str | None = None
    once: bool = False
    appends: bool = False
    trusted: bool = False
    model: str | None = None
    options: Options = Options()


def release_key(owner: Owner, turn: ClientTurn) -> UUID | None:
    """Let go of a key whose run is no answer to it any more; the prompt that this run answered."""
    runs = Run.objects.filter(requester=owner.requester, idempotency_key=turn.id, ended__isnull=False)
    if turn.once:
        runs = runs.exclude(status=Run.Status.COMPLETED)
    found = runs.values_list("id", "message__parent_id").first() if turn.id else None
    if found is None:
        return None
    run, prompt = found
    Run.objects.filter(id=run).update(idempotency_key=None)
    return prompt


def run_of_key(owner: Owner, key: str) -> UUID | None:
    return Run.objects.filter(requester=owner.requester, idempotency_key=key).values_list("id", flat=True).first()


def place(owner: Owner, turn: ClientTurn, again: UUID | None = None) -> Place:
    """Runs inside a transaction. `again`: the stored prompt that the turn's key stood for. Raises ChatError: busy."""
    if turn.appends and again is not None and (sent := Message.objects.filter(id=again).first()):
        return Place(owner.session(sent.session_id, lock=True), sent)
    found = find(owner, turn)
    if found is None:
        title = prompts.first_words(next(said.text for said in turn.said if said.role == User))
        session = ChatSession(owner_id=owner.user, guest=owner.guest, title=title, client_id=turn.chat)
    else:
        session = owner.session(found, lock=True)
    walk = _Walk(session, turn)
    prompt = walk.to_prompt()
    if prompt._state.adding:
        prompts.check_free(session, walk.stored)
    return Place(session, prompt, walk.missing)


def written_before(owner: Owner, turn: ClientTurn) -> list[UUID]:
    """The runs that make the turn's place busy."""
    found = find(owner, turn)
    if found is None:
        return []
    session = owner.session(found)
    walk = _Walk(session, turn)
    walk.to_prompt()
    return prompts.writing(session, walk.stored) if walk.stored else []


# Which chat session -------------------------------------------------------------------------------------------------


def find(owner: Owner, turn: ClientTurn) -> UUID | None:
    return named(owner, turn.chat) if turn.chat is not None else _alike(owner, turn)


def named(owner: Owner, chat: str) -> UUID | None:
    """The owner's chat session that a client calls so, else the one that has this id."""
    found = owner.sessions().filter(client_id=chat).values_list("id", flat=True).first()
    if found is None and (id_ := as_id(chat)):
        found = owner.sessions().filter(id=id_).values_list("id", flat=True).first()
    return found


def as_id(text: str) -> UUID | None:
    try:
        return UUID(text) if len(text) == 36 else None
    except ValueError:
        return None


def fingerprint(texts: Iterable[str], before: str = "") -> str:
    """Of the prompts from the first one on; `before`: that of those in front of `texts`."""
    found = before
    for text in texts:
        found = hashlib.sha256(f"{found}\n{text}".encode()).hexdigest()
    return found


def _alike(owner: Owner, turn: ClientTurn) -> UUID | None:
    """Of the chat sessions in which the earlier prompts were sent, the newest one with this answer to them."""
    earlier = [said.text for said in turn.said[:-1] if said.role == User]
    if not earlier:
        return None  # two that begin alike are two
    told = next((said.text for said in reversed(turn.said) if said.role == Assistant), "")
    rows = Message.objects.filter(fingerprint=fingerprint(earlier), session__in=owner.sessions())
    alike = dict(rows.order_by("-id").values_list("id", "session_id")[:ALIKE])
    answers = Message.objects.filter(parent__in=alike, role=Assistant).order_by("-id")
    for prompt, text in answers.values_list("parent_id", "text"):
        if _fits(text, told):
            return alike[prompt]
    return next(iter(alike.values()), None)


def _fits(stored: str, told: str) -> bool:
    """A client that stopped reading has the beginning only."""
    return stored.startswith(told)


# Where in its tree --------------------------------------------------------------------------------------------------


class _Stored(NamedTuple):
    id: UUID
    parent: UUID | None
    role: str
    text: str  # of a prompt; what was answered is looked up only where there is no other way to know it


class _Walk:
    """`stored`: the message that was reached in the tree. `missing`: what comes behind it and is not stored."""

    def __init__(self, session: ChatSession, turn: ClientTurn) -> None:
        self.session = session
        self.turn = turn
        self.stored = session.active_leaf_id if turn.appends else None
        self.missing: list[Message] = []
        self._known_by = ""  # the fingerprint so far; made anew for each of 2,000 prompts it would take seconds
        self._children: dict[UUID | None, list[_Stored]] = {}
        if not session._state.adding:
            for row in _tree(session):
                self._children.setdefault(row.parent, []).append(row)

    def to_prompt(self) -> Message:
        *before, prompt = self.turn.said
        if self.turn.appends:
            return self._new_prompt(prompt.text)
        for said, after in zip(before, self.turn.said[1:], strict=True):
            if said.role == User:
                self._take_prompt(said.text, after.id)
            else:
                self._take_answer(said)
        found = self._prompt(prompt.text)
        return Message.objects.get(id=found.id) if found else self._new_prompt(prompt.text)

    def _take_prompt(self, text: str, answer: UUID | None) -> None:
        if found := self._prompt(text, answer):
            self.stored = found.id
        else:
            self.missing.append(self._new_prompt(text))

    def _take_answer(self, said: Said) -> None:
        answers = self._below(Assistant)
        found = next((answer for answer in answers if answer.id == said.id), None) or self._told(answers, said.text)
        if found is None and self.turn.trusted and said.text:
            parts = [{"type": "text", "text": said.text}]
            answer = Message(session=self.session, parent_id=self._leaf, role=Assistant, text=said.text, parts=parts)
            self.missing.append(answer)
        elif found or answers:
            self.stored = (found or answers[0]).id

    def _told(self, answers: list[_Stored], text: str) -> _Stored | None:
        texts = dict(Message.objects.filter(id__in=[answer.id for answer in answers]).values_list("id", "text"))
        return next((answer for answer in answers if _fits(texts[answer.id], text)), None)

    def _below(self, role: str) -> list[_Stored]:
        """The newest first; none behind what is not stored."""
        return [] if self.missing else [row for row in self._children.get(self.stored, ()) if row.role == role]

    def _prompt(self, text: str, answer: UUID | None = None) -> _Stored | None:
        """The stored prompt of this text that comes next, if there are more the one with this answer."""
        found = self._said(text, answer)
        if found is None and (answers := self._below(Assistant)):
            # The client has not kept the answer in between, which failed or was stopped before its first token.
            self.stored = answers[0].id
            found = self._said(text, answer)
        if found is not None:
            self._tell_apart(text)
        return found

    def _said(self, text: str, answer: UUID | None) -> _Stored | None:
        found = [row for row in self._below(User) if row.text == text]
        answered = (row for row in found if any(below.id == answer for below in self._children.get(row.id, ())))
        return next(answered, found[0] if found else None)

    def _new_prompt(self, text: str) -> Message:
        self._tell_apart(text)
        return prompts.user_message(self.session, self._leaf, text, self._known_by or None)

    def _tell_apart(self, text: str) -> None:
        if self.turn.chat is None:
            self._known_by = fingerprint([text], self._known_by)

    @property
    def _leaf(self) -> UUID | None:
        return self.missing[-1].id if self.missing else self.stored


def _tree(session: ChatSession) -> list[_Stored]:
    """The newest first. It is read within the transaction that starts a run, so nothing that is not needed."""
    said = Case(When(role=User, then="text"), default=Value(""), output_field=TextField())
    rows = Message.objects.filter(session=session).order_by("-id").values_list("id", "parent_id", "role", said)
    return [_Stored(*row) for row in rows]
