"""Server-sent events, decoded from bytes that arrive in any fragments.

`feed` returns the data of the events that became whole; a payload of an event named `error` is an `ErrorData`, other
names, ids and retry times are dropped. The rules are those of the HTML standard (CR, LF or CRLF ends a line, a BOM may
open the stream, `:` opens a comment), with one leniency in `end`: real servers close without the last blank line.

Nearly every read of a live model is exactly one `data: {...}` and a blank line, so that case skips the line machine.
"""

MAX_EVENT_BYTES = 8 * 1024 * 1024

BOM = b"\xef\xbb\xbf"


class ErrorData(bytes):
    """The data of an event that the server named `error`."""


class EventTooLarge(ValueError):
    """A line or an event over MAX_EVENT_BYTES: no model writes one, so this is not its answer."""


class SSEDecoder:
    __slots__ = ("_data", "_data_bytes", "_first_line", "_held", "_held_bytes", "_name", "_skip_lf")

    def __init__(self) -> None:
        self._held: list[bytes] = []  # pieces of a line that has no end yet; joined once, so tiny reads stay linear
        self._held_bytes = 0
        self._skip_lf = False  # the last read ended with CR: an LF that opens the next one belongs to it
        self._first_line = True
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._name = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        fresh = not (self._held or self._data or self._name)
        if fresh and chunk.startswith(b"data: ") and chunk.endswith(b"\n\n") and b"\r" not in chunk:
            payloads = chunk[6:-2].split(b"\n\ndata: ")
            if chunk.count(b"\n") == 2 * len(payloads) and len(chunk) <= MAX_EVENT_BYTES:
                self._first_line = self._skip_lf = False
                return payloads
        return self._lines(chunk)

    def end(self) -> list[bytes]:
        """What the stream still held when it ended: a last event without its blank line, or without any line end."""
        events: list[bytes] = []
        if self._held:
            rest = b"".join(self._held)
            self._held, self._held_bytes = [], 0
            self._line(rest, events)
        self._dispatch(events)
        return events

    def _lines(self, chunk: bytes) -> list[bytes]:
        if self._skip_lf and chunk:
            self._skip_lf = False
            if chunk[:1] == b"\n":
                chunk = chunk[1:]
        if b"\n" not in chunk and b"\r" not in chunk:
            self._hold(chunk)
            return []
        self._held.append(chunk)
        lines = b"".join(self._held).splitlines()
        self._held, self._held_bytes = [], 0
        self._skip_lf = chunk[-1:] == b"\r"
        if chunk[-1:] not in (b"\n", b"\r"):
            self._hold(lines.pop())
        events: list[bytes] = []
        for line in lines:
            self._line(line, events)
        return events

    def _hold(self, piece: bytes) -> None:
        if piece:
            self._held.append(piece)
            self._held_bytes += len(piece)
            if self._held_bytes > MAX_EVENT_BYTES:
                raise EventTooLarge

    def _line(self, line: bytes, events: list[bytes]) -> None:
        if self._first_line:
            self._first_line = False
            line = line.removeprefix(BOM)
        if not line:
            self._dispatch(events)
            return
        field, _, value = line.partition(b":")  # a comment has the empty field
        if field == b"data":
            self._data.append(value.removeprefix(b" "))
            self._data_bytes += len(value) + 1
            if self._data_bytes > MAX_EVENT_BYTES:
                raise EventTooLarge
        elif field == b"event":
            self._name = value.removeprefix(b" ")

    def _dispatch(self, events: list[bytes]) -> None:
        if self._data:
            payload = b"\n".join(self._data)
            events.append(ErrorData(payload) if self._name == b"error" else payload)
            self._data, self._data_bytes = [], 0
        self._name = b""
