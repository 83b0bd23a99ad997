"""What msgspec says of a value, as the ChatError that a client can use."""

import re

from chat.protocol.errors import ChatError

_PATH = re.compile(r" - at `\$\.?([^`]*)`$")


def bad_value(reason: str, what: str) -> ChatError:
    """`reason`: msgspec's words. `what` the reader finds described in docs/protocol.md."""
    match = _PATH.search(reason)
    field = match[1] if match else None
    if "missing required field" in reason:
        field = reason.split("`")[1]
    elif "Invalid value" in reason and field == "type":
        return ChatError("bad_frame", "Unknown `type`: see docs/protocol.md for the operations.", field="type")
    fault = reason.split(" - at ")[0]
    return ChatError("bad_frame", f"{fault}. See docs/protocol.md for {what}.", field=field or None)
