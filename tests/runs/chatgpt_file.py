"""Conversations as ChatGPT's export has them, made by hand."""

import json
from typing import Any


def node(
    id_: str, parent: str | None, role: str | None = None, text: str = "", at: float | None = None, **fields: Any
) -> dict[str, Any]:
    """`role` None: a node without a message, as the root is. `fields` are the message's."""
    if role is None:
        return {"id": id_, "parent": parent, "message": None, "children": []}
    message = {
        "id": id_,
        "author": {"role": role, "name": None, "metadata": {}},
        "create_time": at,
        "update_time": None,
        "content": {"content_type": "text", "parts": [text]},
        "status": "finished_successfully",
        "end_turn": True,
        "weight": 1.0,
        "metadata": {},
        "recipient": "all",
        **fields,
    }
    return {"id": id_, "parent": parent, "message": message, "children": []}


def conversation(*nodes: dict[str, Any], current: str | None = None, **fields: Any) -> dict[str, Any]:
    return {
        "title": "A conversation",
        "create_time": 1_700_000_000.5,
        "update_time": 1_700_000_900.25,
        "mapping": {each["id"]: each for each in nodes},
        "moderation_results": [],
        "current_node": current or nodes[-1]["id"],
        "plugin_ids": None,
        "conversation_id": "c0ffee",
        "is_archived": False,
        "default_model_slug": "gpt-4o",
        "id": "c0ffee",
        **fields,
    }


def hidden(id_: str, parent: str, **fields: Any) -> dict[str, Any]:
    content = {"content_type": "user_editable_context", "user_profile": "I am secret", "user_instructions": "Be brief"}
    about = {"is_visually_hidden_from_conversation": True}
    return node(id_, parent, "user", content=content, metadata=about, **fields)


EDITED = conversation(
    node("root", None),
    node("sys", "root", "system", "You are ChatGPT", weight=0.0),
    hidden("ctx", "sys"),
    node("u1", "ctx", "user", "Helo", 1_700_000_001.0),
    node("a1", "u1", "assistant", "Did you mean hello?", 1_700_000_002.0, metadata={"model_slug": "gpt-4"}),
    node("u2", "ctx", "user", "Hello", 1_700_000_003.0),
    node("a2", "u2", "assistant", "Hi.", 1_700_000_004.0),
    node("a3", "u2", "assistant", "Good day.", 1_700_000_005.0),
    current="a2",
)
# Reasoning, a tool's call and its result, and text: one answer. A picture and speech in the prompt.
WITH_TOOLS = conversation(
    node("root", None),
    node(
        "u",
        "root",
        "user",
        content={
            "content_type": "multimodal_text",
            "parts": [
                {"content_type": "image_asset_pointer", "asset_pointer": "file-service://file-1", "width": 10},
                {"content_type": "audio_transcription", "text": "What is this?", "direction": "in"},
                {"content_type": "audio_asset_pointer", "asset_pointer": "sediment://1"},
                "Please.",
            ],
        },
    ),
    node("t", "u", "assistant", content={"content_type": "thoughts", "thoughts": [{"summary": "s", "content": "Hm."}]}),
    node("r", "t", "assistant", content={"content_type": "reasoning_recap", "content": "Thought for 2s"}),
    node(
        "call",
        "r",
        "assistant",
        content={"content_type": "code", "language": "python", "text": "1/0"},
        recipient="python",
    ),
    node("tool", "call", "tool", content={"content_type": "execution_output", "text": "ZeroDivisionError"}),
    node("code", "tool", "assistant", content={"content_type": "code", "language": "python", "text": "print(1)"}),
    node("end", "code", "assistant", "It is a picture."),
    title=None,
    id="b",
    conversation_id="b",
    create_time=None,
    update_time=None,
)
MALFORMED: dict[str, dict[str, Any]] = {
    "no mapping": {"title": "no mapping"},
    "mapping is a list": {"title": "mapping is a list", "mapping": []},
    "nodes are no objects": {"title": "nodes are no objects", "mapping": {"a": 1}},
    "nothing said": conversation(node("root", None), title="nothing said"),
    "circle": conversation(node("x", "y", "user", "x"), node("y", "x", "user", "y"), title="circle"),
    "hidden circle": conversation(
        hidden("x", "y"), hidden("y", "x"), node("z", "x", "user", "z"), title="hidden circle"
    ),
    "itself": conversation(node("x", "x", "user", "x"), title="itself"),
}


def file(*conversations: Any) -> bytes:
    return json.dumps(conversations, indent=1).encode()
