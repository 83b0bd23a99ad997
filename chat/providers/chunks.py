"""The fields of a Chat Completions chunk that make an answer.

Nearly every chunk fits `Chunk` and is decoded by msgspec in a microsecond. Compatible servers also send a content that
is a list of parts, fields of wrong types, or half an emoji as a JSON escape (which msgspec, rightly, refuses): such a
chunk is read once more by the standard library, and what can be understood of it is taken.
"""

import json
from typing import Any

import msgspec


class ChunkDelta(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None


class Choice(msgspec.Struct):
    index: int | None = 0
    delta: ChunkDelta | None = None
    message: ChunkDelta | None = None  # of an answer that is not streamed
    finish_reason: str | None = None


class TokenDetails(msgspec.Struct, gc=False):
    reasoning_tokens: int | None = None


class ChunkUsage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    completion_tokens_details: TokenDetails | None = None


class Chunk(msgspec.Struct):
    choices: list[Choice] | None = None
    usage: ChunkUsage | None = None
    error: Any = None
    type: Any = None
    object: Any = None
    message: Any = None
    code: Any = None

    def failure(self) -> Any:
        """The error object that this chunk is, in any of the four ways in which servers put it; else None."""
        if self.error:
            return self.error
        if not self.choices and "error" in (self.type, self.object):
            return {"message": self.message, "type": self.type, "code": self.code}
        return None


_decode = msgspec.json.Decoder(Chunk).decode


def read_chunk(payload: bytes) -> Chunk:
    """Raises ValueError if it is no JSON object."""
    try:
        return _decode(payload)
    except (ValueError, RecursionError):  # msgspec's errors and UnicodeDecodeError are ValueErrors
        return _loosely(payload)


def _loosely(payload: bytes) -> Chunk:
    try:
        found = json.loads(payload.decode("utf-8", "replace"))
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(found, dict):
        raise ValueError(f"a JSON {type(found).__name__} is no chunk")
    return Chunk(
        choices=[_choice(choice) for choice in _list(found.get("choices")) if isinstance(choice, dict)],
        usage=_usage(found.get("usage")),
        **{name: found.get(name) for name in ("error", "type", "object", "message", "code")},
    )


def _list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else []


def _choice(found: dict[str, Any]) -> Choice:
    reason, index = found.get("finish_reason"), found.get("index")
    return Choice(
        index=index if isinstance(index, int) else 0,
        delta=_delta(found.get("delta")),
        message=_delta(found.get("message")),
        finish_reason=reason if reason is None or isinstance(reason, str) else str(reason),
    )


def _delta(found: Any) -> ChunkDelta | None:
    if not isinstance(found, dict):
        return None
    return ChunkDelta(**{name: _text(found.get(name)) for name in ChunkDelta.__struct_fields__})


def _text(value: Any) -> str | None:
    """A string, or the text of a list of parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_part(part) for part in value)
    return None


def _part(part: Any) -> str:
    text = part.get("text") if isinstance(part, dict) else part
    return text if isinstance(text, str) else ""


def _usage(found: Any) -> ChunkUsage | None:
    if not isinstance(found, dict):
        return None
    details = found.get("completion_tokens_details")
    reasoning = _count(details.get("reasoning_tokens")) if isinstance(details, dict) else None
    prompt, completion = _count(found.get("prompt_tokens")), _count(found.get("completion_tokens"))
    return ChunkUsage(prompt, completion, TokenDetails(reasoning))


def _count(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) and 0 <= value < 2**53 else None
