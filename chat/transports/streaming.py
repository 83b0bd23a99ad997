"""An HTTP answer that follows a run: what SSE, plain text and the AI SDK's streams have in common."""

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, StreamingHttpResponse

from chat.protocol.errors import ChatError
from chat.protocol.events import Event
from chat.protocol.frames import Snapshot
from chat.runs.follow import Follower
from chat.transports.access import Visitor
from chat.transports.desk import Desk
from chat.transports.hub import Hub

HEARTBEAT_SECONDS = 15.0

# The ASGI extension of a server that can write a piece of a body at once: False when it would have to wait.
WRITE_NOW = "chat.write_now"

Batch = Snapshot | list[Event]


class Stream:
    """One follower of a run, known to the hub like a socket: it counts as one, and ends when its sign-in does.

    `position`: the seq as of which its reader holds everything.
    """

    def __init__(self, hub: Hub, visitor: Visitor, follower: Follower, position: int = 0) -> None:
        self.visitor = visitor
        self.position = position
        self._hub = hub
        self._follower = follower
        self._loop = asyncio.get_running_loop()
        self._last = 0.0
        self._beat: asyncio.TimerHandle | None = None
        self._response: Callable[[], StreamingHttpResponse | None] = lambda: None
        self._sink: Callable[[Event], bool] | None = None
        if hub.stopping:
            self._follower.close()
        hub.join(self)

    @property
    def run(self) -> str:
        return self._follower.key

    @property
    def over(self) -> bool:
        """The run has ended, and its terminal event lies before the place that was asked for."""
        return self._follower.done and not self._hub.stopping

    async def batches(self) -> AsyncIterator[Batch | None]:
        """What the follower gives; None whenever nothing came for HEARTBEAT_SECONDS.

        Ends after the terminal event, and before it when the sign-in or the process ends: the client comes back.
        """
        self._last = self._loop.time()
        self._beat = self._loop.call_later(HEARTBEAT_SECONDS, self._look)
        if (response := self._response()) is not None and "Content-Encoding" not in response:
            self._follower.sink = self._sink  # no middleware compresses what it would write past it
        try:
            async for batch in self._follower:
                self._last = self._loop.time()
                yield batch or None
                self.position = max(self.position, self._follower.position)
        finally:
            self.close()

    def _look(self) -> None:
        """One timer a stream, not one a chunk: it looks whether anything came."""
        now = self._loop.time()
        if now - self._last >= HEARTBEAT_SECONDS:
            self._follower.nudge()
            self._last = now
        self._beat = self._loop.call_at(self._last + HEARTBEAT_SECONDS, self._look)

    def push(self, request: HttpRequest, encode: Callable[[Event], bytes]) -> None:
        """Have a live event written from within the bus's call, where the server can: waking tasks costs more.

        `encode` has to give what the content that `respond` is given would yield for this one event, and to remember
        nothing: what could not be written at once comes by `batches` again.
        """
        write = getattr(request, "scope", {}).get("extensions", {}).get(WRITE_NOW)
        if write is None:
            return

        def sink(event: Event) -> bool:
            taken: bool = write(encode(event))
            if taken:
                self._last = self._loop.time()
                self.position = event.seq
            return taken

        self._sink = sink

    def respond(self, content: AsyncIterator[bytes], content_type: str) -> StreamingHttpResponse:
        response = StreamingHttpResponse(content, content_type=content_type)
        response["Cache-Control"] = "no-cache, no-store, no-transform"
        response["X-Accel-Buffering"] = "no"
        self._response = weakref.ref(response)
        # Django closes a response, in a thread, whether or not it was read.
        closers: list[Callable[[], Any]] = response._resource_closers  # type: ignore[attr-defined]
        closers.append(self._close_soon)
        # But a client that leaves before the first byte has Django cancel the content unstarted, or drop the response
        # unclosed while a middleware has it. Either way, and in whatever thread, the response goes.
        weakref.finalize(response, self._close_soon).atexit = False
        return response

    def _close_soon(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.close)

    def close(self) -> None:
        self._follower.close()
        self._hub.leave(self)
        if self._beat is not None:
            self._beat.cancel()

    # Called by the hub ----------------------------------------------------------------------------------------------

    def run_began(self, session: str, run: str) -> None:
        """It follows one run only."""

    def session_changed(self, session: str, changes: dict[str, Any]) -> None:
        """It tells of one run only."""

    def sign_out(self) -> None:
        self.close()

    def server_stops(self) -> None:
        self.close()


async def open_stream(at: Desk, visitor: Visitor, run: UUID, after: int = 0) -> Stream:
    """Follow `run` from behind seq `after`. Raises ChatError."""
    check_room(at, visitor)
    follower = await at.engine.follow(visitor.owner, run, after)
    return Stream(at.hub, visitor, follower, after)


def check_room(at: Desk, visitor: Visitor) -> None:
    """Raises ChatError: rate_limited. Ask before a prompt is stored that could then not be followed."""
    if at.hub.count(visitor) >= settings.CHAT_SOCKETS_PER_USER:
        raise ChatError(
            "rate_limited", "Too many connections are open for you. Close another one first.", retry_after_s=2
        )
