"""Server-Sent Events: how a run's frames become what EventSource reads, and its last id a position in the run.

Text is an unnamed event, `data: {"content": "…"}`: a plain `onmessage` handler has the answer with that. All else is
named by the type of the frame, and its data is the frame that the WebSocket sends. Each carries `id: <run>:<seq>`,
the seq as of which its reader holds everything.
"""

import re
from collections.abc import Sequence
from uuid import UUID

from chat.protocol import events, frames
from chat.protocol.errors import ChatError
from chat.protocol.events import Event, Span

CONTENT_TYPE = "text/event-stream; charset=utf-8"
HEARTBEAT = b": heartbeat\n\n"

_ID = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}):([0-9]{1,10})")
_TEXT = ',"text":'


def of_event(run: str, event: Event) -> bytes:
    if event.type == "text.delta":
        return _content(run, event.seq, event.data)
    return _named(run, event.seq, event.type, events.frame(run, event))


def of_events(run: str, batch: Sequence[Event]) -> bytes:
    """Adjacent deltas are merged, as on the WebSocket, and all of it is one piece to be written at once."""
    if len(batch) == 1:
        return of_event(run, batch[0])
    return b"".join([_of_span(run, span) for span in events.merge(batch)])


def _of_span(run: str, span: Span) -> bytes:
    if span.type == "text.delta":
        return _content(run, span.seq, span.data)
    return _named(run, span.seq, span.type, events.span_frame(run, span))


def of_snapshot(snapshot: frames.Snapshot, after: int) -> bytes:
    """`after`: the seq as of which the reader holds everything.

    Who holds nothing is told the text as an unnamed event first: a handler that knows of no snapshots has it then,
    and who replaces all by the snapshot has it once as well.
    """
    named = _named(snapshot.run, snapshot.seq, "run.snapshot", frames.encode(snapshot))
    if after > 0 or not snapshot.text:
        return named
    return _content(snapshot.run, snapshot.seq, events.encode_data(events.PartDelta(0, snapshot.text))) + named


def of_accepted(accepted: frames.RunAccepted) -> bytes:
    """Its id is that of seq 0: who comes back with it reads the run from its beginning, and starts none."""
    return _named(accepted.run, 0, "run.accepted", frames.encode(accepted))


def retry(seconds: float) -> bytes:
    """How long EventSource waits before it comes back; alone, it tells nothing."""
    return b"retry: %d\n\n" % round(seconds * 1000)


def position(last_event_id: str) -> tuple[UUID, int]:
    """Run and seq. Raises ChatError: bad_frame."""
    match = _ID.fullmatch(last_event_id)
    if match is None or int(match[2]) > events.MOST_SEQ:
        raise ChatError("bad_frame", "Last-Event-ID is none of ours: `<run>:<seq>`.", field="Last-Event-ID")
    return UUID(match[1]), int(match[2])


def _content(run: str, seq: int, data: str) -> bytes:
    # The stored bytes again: `{"part":0,"text":"…"}`, of which the text with its closing brace is taken over.
    return f'id: {run}:{seq}\ndata: {{"content": {data[data.index(_TEXT) + len(_TEXT) :]}\n\n'.encode()


def _named(run: str, seq: int, name: str, frame: str) -> bytes:
    return f"id: {run}:{seq}\nevent: {name}\ndata: {frame}\n\n".encode()
