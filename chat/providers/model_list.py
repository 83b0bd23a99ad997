"""What `GET /models` says."""

import re
from typing import Any

import msgspec

from chat.providers.base import ModelInfo
from chat.providers.failures import garbage

# OpenAI lists everything that it runs; these words mark what cannot chat.
NO_CHAT = re.compile(
    r"(?i)embed|whisper|tts|dall-e|image|moderation|audio|realtime|transcri|sora|rerank|babbage|davinci|-instruct$"
)
CONTEXT_FIELDS = ("context_length", "max_model_len", "context_window")


def read_models(body: bytes, context_tokens: int) -> list[ModelInfo]:
    """In the server's order. Those that plainly cannot chat are left out, unless nothing else is there."""
    try:
        found = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        raise garbage(body) from None
    listed = found.get("data") if isinstance(found, dict) else found
    if not isinstance(listed, list):
        raise garbage(body)
    models = [_model(entry, context_tokens) for entry in listed if isinstance(entry, dict) and entry.get("id")]
    return [model for model in models if not NO_CHAT.search(model.id)] or models


def _model(entry: dict[str, Any], context_tokens: int) -> ModelInfo:
    sizes = (entry.get(name) for name in CONTEXT_FIELDS)
    size = next((size for size in sizes if isinstance(size, int) and size > 0), context_tokens)
    return ModelInfo(id=str(entry["id"]), label=str(entry.get("name") or entry["id"]), context_tokens=size)
