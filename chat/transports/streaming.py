"""An HTTP answer that follows a run: what SSE, plain text and the AI SDK's streams have in common."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import StreamingHttpResponse

from chat.protocol.errors import ChatError
from chat.protocol.events import Event
from chat.protocol.frames import Snapshot
from chat.runs.follow import Follower
from chat.transports.access import Visitor
from chat.transports.desk import Desk
from chat.transports.hub import Hub

HEARTBEAT_SECONDS = 15.0

Batch = Snapshot | list[Event]


class Stream:
    """One follower of a run, known to the hub like a socket: it counts as one, and ends when its sign-in does."""

    def __init__(self, hub: Hub, visitor: Visitor, follower: Follower) -> None:
        self.visitor = visitor
        self._hub = hub
        self._follower = follower
        self._loop = asyncio.get_running_loop()
        hub.join(self)

    async def batches(self) -> AsyncIterator[Batch | None]:
        """What the follower gives; None whenever nothing came for HEARTBEAT_SECONDS.

        Ends after the terminal event, and before it when the sign-in or the process ends: the client comes back.
        """
        try:
            while True:
                try:
                    async with asyncio.timeout(HEARTBEAT_SECONDS):
                        batch = await anext(self._follower)
                except TimeoutError:
                    yield None
                except StopAsyncIteration:
                    return
                else:
                    yield batch
        finally:
            self.close()

    def respond(self, content: AsyncIterator[bytes], content_type: str) -> StreamingHttpResponse:
        response = StreamingHttpResponse(content, content_type=content_type)
        response["Cache-Control"] = "no-cache, no-transform"
        response["X-Accel-Buffering"] = "no"
        # Django closes a response, in a thread, also if its client left before the first byte was asked for.
        closers: list[Callable[[], Any]] = response._resource_closers  # type: ignore[attr-defined]
        closers.append(lambda: self._loop.call_soon_threadsafe(self.close))
        return response

    def close(self) -> None:
        self._follower.close()
        self._hub.leave(self)

    # Called by the hub ----------------------------------------------------------------------------------------------

    def run_began(self, session: str, run: str) -> None:
        """It follows one run only."""

    def session_changed(self, session: str, changes: dict[str, Any]) -> None:
        """It tells of one run only."""

    def sign_out(self) -> None:
        self.close()


async def open_stream(at: Desk, visitor: Visitor, run: UUID, after: int = 0, *, queued: bool = False) -> Stream:
    """Follow `run` from behind seq `after`. Raises ChatError."""
    check_room(at, visitor)
    follower = await at.engine.follow(visitor.owner, run, after, queued=queued)
    return Stream(at.hub, visitor, follower)


def check_room(at: Desk, visitor: Visitor) -> None:
    """Raises ChatError: rate_limited. Ask before a prompt is stored that could then not be followed."""
    if at.hub.count(visitor) >= settings.CHAT_SOCKETS_PER_USER:
        raise ChatError(
            "rate_limited", "Too many connections are open for you. Close another one first.", retry_after_s=2
        )
