"""Reads a conversation of ChatGPT's export (conversations.json, or one of several such files).

Nobody describes that file, and it changes: whatever is not needed may be missing or of another shape. A conversation is
a `mapping` of nodes, each with its `parent`; `children` says the same again, or is missing. Beside what was said there
are nodes of the system and of tools, hidden ones, and such as only call a tool: these go, and what hangs under them
hangs under the next above that stays.
"""

import hashlib
import itertools
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from chat.models import Message
from chat.protocol.events import Part
from chat.runs.conversations import Conversation, Node, Unfit, conversation, date_of, opening, text_part

_ROLES = {"user": Message.Role.USER, "assistant": Message.Role.ASSISTANT}


class Filed(Struct, frozen=True):
    mapping: dict[str, dict[str, Any]]
    title: Any = None
    create_time: Any = None
    update_time: Any = None
    current_node: Any = None
    conversation_id: Any = None
    id: Any = None
    is_archived: Any = False
    default_model_slug: Any = None


def of_chatgpt(filed: Filed, raw: bytes) -> Conversation:
    """`raw`: what it was decoded from, which names it if it names itself not. Raises Unfit."""
    nodes = {id_: _node(id_, node, filed.default_model_slug) for id_, node in filed.mapping.items()}
    parents = {id_: _text(node.get("parent")) or None for id_, node in filed.mapping.items()}
    above = _nearest(nodes, parents)
    kept = _joined([node._replace(parent=above.get(node.parent)) for node in nodes.values() if node is not None])
    if not kept:
        raise Unfit("Nothing was said in it.")
    alias = {part: node.id for node, parts in kept for part in parts}
    current = above.get(_text(filed.current_node))
    name = _text(filed.conversation_id) or _text(filed.id) or hashlib.sha256(raw).hexdigest()
    return conversation(
        f"chatgpt:{name}",
        [node._replace(parent=alias.get(node.parent) if node.parent else None) for node, _ in kept],
        title=_text(filed.title) or opening(node for node, _ in kept),
        by_date=True,
        created=date_of(filed.create_time),
        updated=date_of(filed.update_time),
        active=alias.get(current) if current else None,
        archived=filed.is_archived is True,
    )


def _node(id_: str, node: Mapping[str, Any], model: Any) -> Node | None:
    """None: it is not shown."""
    message = node.get("message")
    if not isinstance(message, dict):
        return None
    role = _ROLES.get(_text(_object(message.get("author")).get("role")))
    about = _object(message.get("metadata"))
    hidden = about.get("is_visually_hidden_from_conversation") is True or message.get("weight") == 0
    if role is None or hidden or message.get("recipient") not in (None, "all"):
        return None
    parts = _parts(_object(message.get("content")))
    if not parts:
        return None
    wrote = (_text(about.get("model_slug")) or _text(model))[:200] if role == Message.Role.ASSISTANT else ""
    status = Message.Status.STOPPED if message.get("status") == "in_progress" else Message.Status.DONE
    return Node(id_, _text(node.get("parent")) or None, role, status, parts, wrote, date_of(message.get("create_time")))


def _parts(content: Mapping[str, Any]) -> list[Part]:
    match content.get("content_type"):
        case "text" | "multimodal_text" | None:
            text = "\n\n".join(filter(None, map(_piece, _list(content.get("parts")))))
        case "code":
            code = _text(content.get("text"))
            language = _text(content.get("language"))
            fence = "````" if "```" in code else "```"
            text = (
                f"{fence}{language if language.isalnum() and language != 'unknown' else ''}\n{code}\n{fence}"
                if code
                else ""
            )
        case "thoughts":
            thoughts = [_text(_object(thought).get("content")) for thought in _list(content.get("thoughts"))]
            reasoning = "\n\n".join(filter(None, thoughts))
            return [text_part(reasoning, "reasoning")] if reasoning else []
        case _:
            return []  # custom instructions, what was browsed, what a tool gave, how long it thought
    return [text_part(text)] if text.strip() else []


def _piece(piece: Any) -> str:
    if isinstance(piece, str):
        return piece
    kind = _text(_object(piece).get("content_type"))
    if kind == "audio_transcription":
        return _text(piece.get("text"))
    if kind == "image_asset_pointer":
        return "[image]"
    return ""  # the sound and the picture of what the transcription says


def _nearest(nodes: Mapping[str, Node | None], parents: Mapping[str, str | None]) -> dict[str | None, str | None]:
    """For each id itself, or the next above it that stays; None: there is none. Raises Unfit."""
    found: dict[str | None, str | None] = {None: None}
    for id_ in parents:
        way: list[str] = []
        at: str | None = id_
        while at not in found:
            assert at is not None
            if at not in parents:
                at = None  # what is above was not exported
            elif nodes[at] is not None:
                found[at] = at
            elif len(way) > len(parents):
                raise Unfit("Its messages are no tree: they go in a circle.")
            else:
                way.append(at)
                at = parents[at]
        found.update((each, found[at]) for each in way)
    return found


def _joined(nodes: list[Node]) -> list[tuple[Node, list[str]]]:
    """With the ids of all that went into each: reasoning, code and text of one answer come one under the other."""
    children: dict[str | None, int] = {}
    by_id = {node.id: node for node in nodes}
    for node in nodes:
        children[node.parent] = children.get(node.parent, 0) + 1
    into: dict[str, str] = {}  # an answer's second and further nodes → the node that they go on
    for node in nodes:
        above = by_id.get(node.parent) if node.parent else None
        if above is not None and above.role == node.role == Message.Role.ASSISTANT and children[above.id] == 1:
            into[node.id] = above.id
    going_on = {first: second for second, first in into.items()}
    joined = []
    for node in nodes:
        if node.id in into:
            continue
        ids, parts, model, status = [node.id], list(node.parts), node.model, node.status
        while (further := going_on.get(ids[-1])) is not None:
            ids.append(further)
            parts += by_id[further].parts
            model, status = by_id[further].model or model, by_id[further].status
        joined.append((node._replace(parts=_put_together(parts), model=model, status=status), ids))
    return joined


def _put_together(parts: list[Part]) -> list[Part]:
    """One part of what is of one kind. All at once: one after the other each would copy the text before it."""
    kinds = itertools.groupby(parts, key=lambda part: part["type"])
    return [{"type": kind, "text": "\n\n".join(part["text"] for part in alike)} for kind, alike in kinds]


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
