"""Text of a client's frame → operation, or the ChatError that says what is wrong with it."""

import re

import msgspec

from chat.protocol.errors import ChatError
from chat.protocol.faults import bad_value
from chat.protocol.operations import AnyOperation, Operation, PromptSend

FRAME_BYTES = 65_536

_decoder = msgspec.json.Decoder(AnyOperation)
# The id of a frame that cannot be decoded whole, so that the client can still tell which one it was.
_ID = re.compile(r'"id"\s*:\s*"((?:[^"\\]|\\.){1,64})"')


def decode(text: str, *, prompt_chars: int) -> Operation:
    """Raises ChatError: too_large, bad_json or bad_frame."""
    if len(text) > FRAME_BYTES or (not text.isascii() and len(text.encode(errors="replace")) > FRAME_BYTES):
        raise ChatError("too_large", f"A frame may hold at most {FRAME_BYTES} bytes. Send less at once.")
    try:
        operation: Operation = _decoder.decode(text)
    except msgspec.ValidationError as error:
        raise bad_value(str(error), "this operation") from None
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise ChatError("bad_json", "The frame is not JSON. Send one JSON object a frame, as text.") from None
    if "\\u0000" in text:
        refuse_nul(operation)
    if isinstance(operation, PromptSend):
        check_prompt(operation.text, prompt_chars)
    return operation


def check_prompt(text: str, most: int, field: str = "text") -> None:
    """Raises ChatError: too_large or bad_frame. `field`: what the client calls it."""
    if not text.strip():
        raise ChatError("bad_frame", "The prompt is empty. Write something in it.", field=field)
    if len(text) > most:
        raise ChatError("too_large", f"A prompt may hold at most {most:,} characters, this one has {len(text):,}.")
    if "\0" in text:
        raise ChatError("bad_frame", "The prompt holds a NUL character, which cannot be stored.", field=field)


def refuse_nul(operation: Operation) -> None:
    """Raises ChatError: bad_frame, if a field beside the prompt holds what no database stores."""
    options = getattr(operation, "options", None)
    given = {
        "id": operation.id,
        "model": getattr(operation, "model", None),
        "options.system": getattr(options, "system", None),
    }
    for number, tool in enumerate(getattr(options, "tools", None) or ()):
        given[f"options.tools[{number}]"] = tool
    for field, value in given.items():
        if value and "\0" in value:
            raise ChatError("bad_frame", f"`{field}` holds a NUL character, which cannot be stored.", field=field)


def id_of(text: str) -> str | None:
    """The `id` of a frame that was refused, as far as it can be found."""
    try:
        found = msgspec.json.decode(text[:FRAME_BYTES], type=_OnlyId).id
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        match = _ID.search(text[:FRAME_BYTES])
        found = _unescaped(match[1]) if match else None
    return found if found and len(found) <= 64 else None


def _unescaped(string: str) -> str | None:
    try:
        return msgspec.json.decode(f'"{string}"', type=str)
    except (msgspec.DecodeError, UnicodeError):
        return None


class _OnlyId(msgspec.Struct):
    id: str | None = None
