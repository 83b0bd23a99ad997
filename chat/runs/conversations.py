"""A conversation that is to be imported, whatever file it comes from: checked, and in the order of storing."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from django.conf import settings

from chat.models import Message
from chat.protocol.events import Part
from chat.protocol.exchange import FORMAT, FiledSession
from chat.runs.prompts import first_words
from chat.runs.tree import LONGEST_PATH

TITLE_CHARS = 200
# Years that dates can be told in: before and after, zones and databases differ on what there is.
FIRST, LAST = datetime(1970, 1, 2, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)


class Unfit(Exception):
    """It is left out, for this reason."""


class Node(NamedTuple):
    """A message; `id` and `parent` are the file's."""

    id: str
    parent: str | None
    role: str
    status: str
    parts: list[Part]
    model: str
    created: datetime | None


class Conversation(NamedTuple):
    """`nodes`: parents before children, older siblings before younger. `source` names it among all of its kind."""

    source: str
    title: str
    model: str
    system: str
    archived: bool
    created: datetime
    updated: datetime
    nodes: list[Node]
    active: str | None

    @property
    def original(self) -> str | None:
        """The id of the chat session that it was exported from."""
        kind, _, name = self.source.partition(":")
        return name if kind == FORMAT else None

    @property
    def key(self) -> str:
        return hashlib.sha256(self.source.encode()).hexdigest()

    @property
    def digest(self) -> str:
        """Of what was said: a title is changed by anybody."""
        said = sorted((node.id, node.parent, node.role, node.parts) for node in self.nodes)
        return hashlib.sha256(msgspec.json.encode(said)).hexdigest()


def of_ours(filed: FiledSession) -> Conversation:
    """Raises Unfit."""
    nodes = [
        Node(
            str(each.id),
            str(each.parent) if each.parent else None,
            each.role,
            Message.Status.STOPPED if each.status == "streaming" else each.status,
            [_part(part) for part in each.parts if part.get("type") in ("text", "reasoning")],
            each.model,
            each.created,
        )
        for each in filed.messages
    ]
    return conversation(
        f"{FORMAT}:{filed.id}",
        nodes,
        title=filed.title,
        model=filed.model,
        system=filed.system,
        archived=filed.archived,
        created=filed.created,
        updated=filed.updated,
        active=str(filed.active) if filed.active else None,
    )


def conversation(
    source: str,
    nodes: Sequence[Node],
    *,
    title: str,
    created: datetime | None,
    updated: datetime | None,
    active: str | None,
    model: str = "",
    system: str = "",
    archived: bool = False,
    by_date: bool = False,
) -> Conversation:
    """In order and within bounds. `by_date`: siblings are, and not as the file has them. Raises Unfit."""
    if len(nodes) > LONGEST_PATH:
        raise Unfit(f"It has more than {LONGEST_PATH} messages.")
    if len({node.id for node in nodes}) < len(nodes):
        raise Unfit("Two of its messages have one id.")
    for node in nodes:
        if sum(len(part["text"]) for part in node.parts) > settings.CHAT_ANSWER_CHARS:
            raise Unfit(f"One of its messages has more than {settings.CHAT_ANSWER_CHARS} characters.")
    begun = _date(created) or min(filter(None, (_date(node.created) for node in nodes)), default=datetime.now(UTC))
    ordered = _in_order(nodes, begun, by_date)
    known = {node.id for node in ordered}
    return Conversation(
        source=source,
        title=" ".join(_clean(title).split())[:TITLE_CHARS],
        model=_clean(model),
        system=_clean(system),
        archived=archived,
        created=begun,
        updated=max(_date(updated) or begun, begun),
        nodes=ordered,
        active=active if active in known else (ordered[-1].id if ordered else None),
    )


def _in_order(nodes: Sequence[Node], begun: datetime, by_date: bool) -> list[Node]:
    """Each after its parent. Who has no date has its parent's."""
    children: dict[str | None, list[Node]] = {}
    for node in nodes:
        children.setdefault(node.parent, []).append(node)
    ordered: list[Node] = []
    dates: dict[str | None, datetime] = {None: begun}
    waiting: list[str | None] = [None]
    while waiting:
        parent = waiting.pop()
        dated = [node._replace(created=_date(node.created) or dates[parent]) for node in children.get(parent, ())]
        if by_date:
            dated.sort(key=lambda node: node.created or begun)
        ordered += dated
        dates.update((node.id, node.created or begun) for node in dated)
        waiting += [node.id for node in dated]
    if len(ordered) < len(nodes):
        raise Unfit("Its messages are no tree: a parent is missing, or they go in a circle.")
    return ordered


def _date(value: datetime | None) -> datetime | None:
    return value.astimezone(UTC) if value is not None and value.tzinfo and FIRST <= value <= LAST else None


def date_of(seconds: Any) -> datetime | None:
    """Of a Unix time; None for what is none."""
    # Compared only: a whole number of JSON may be too long for a float.
    if not isinstance(seconds, int | float) or not 0 < seconds < LAST.timestamp():
        return None
    return datetime.fromtimestamp(seconds, UTC)


def opening(nodes: Iterable[Node]) -> str:
    """A title for what has none."""
    prompts = (node for node in nodes if node.role == Message.Role.USER)
    return first_words(next((part["text"] for node in prompts for part in node.parts), ""))


def _part(part: Mapping[str, Any]) -> Part:
    text = part.get("text")
    if not isinstance(text, str):
        raise Unfit("A part of one of its messages has no text.")
    return {"type": part["type"], "text": _clean(text)}


def text_part(text: str, kind: str = "text") -> Part:
    return {"type": kind, "text": _clean(text)}


def _clean(text: str) -> str:
    return text.replace("\0", "\ufffd")  # Postgres stores none
