"""The sockets of this process, and how notices of the engine reach them and the other processes.

One channel of the channel layer a process, not one a socket: a notice is sent once to each process, and a socket costs
the layer nothing. Chunks never come this way.
"""

import asyncio
import logging
from typing import Any, Protocol

import msgspec
from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.conf import settings
from django.db import DatabaseError, InterfaceError

from chat.models.outage import tell
from chat.runs.engine import Engine
from chat.runs.notices import AccountChanged, Notice, RunBegan, SessionNotice
from chat.transports.access import Visitor, still_valid

log = logging.getLogger(__name__)

GROUP = "chat.notices"
JOIN_SECONDS = 5
# Django tells of a logout before it deletes the session, and of a new password before its own request keeps it.
SETTLE_SECONDS = 1.5


class Socket(Protocol):
    visitor: Visitor

    def run_began(self, session: str, run: str) -> None: ...

    def session_changed(self, session: str, changes: dict[str, Any]) -> None: ...

    def sign_out(self) -> None: ...


class Hub:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._layer = get_channel_layer()
        self._sockets: dict[str, set[Socket]] = {}  # by requester
        self._open: dict[str, set[Socket]] = {}  # by chat session
        self._tasks: list[asyncio.Task[None]] = []
        engine.listeners.append(self.heard)

    async def open(self) -> None:
        # A layer in memory reaches nobody but this process, which hears of its own notices at once without it.
        if self._layer is not None and not isinstance(self._layer, InMemoryChannelLayer):
            self._tasks.append(asyncio.create_task(self._receive(await self._join_group())))
            self.engine.carrier = self._carry
        self._tasks.append(asyncio.create_task(self._recheck_for_ever()))

    async def close(self) -> None:
        # The carrier stays: the engine, which closes next, has to tell of the runs that it gives back.
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # Sockets --------------------------------------------------------------------------------------------------------

    def join(self, socket: Socket) -> None:
        self._sockets.setdefault(socket.visitor.owner.requester, set()).add(socket)

    def leave(self, socket: Socket) -> None:
        _discard(self._sockets, socket.visitor.owner.requester, socket)

    def count(self, visitor: Visitor) -> int:
        return len(self._sockets.get(visitor.owner.requester, ()))

    def open_session(self, session: str, socket: Socket) -> None:
        self._open.setdefault(session, set()).add(socket)

    def close_session(self, session: str, socket: Socket) -> None:
        _discard(self._open, session, socket)

    # Notices --------------------------------------------------------------------------------------------------------

    def heard(self, notice: Notice) -> None:
        match notice:
            case RunBegan(session, run):
                for socket in tuple(self._open.get(session, ())):
                    socket.run_began(session, run)
            case SessionNotice(session, requester, changes):
                for socket in tuple(self._sockets.get(requester, ())):
                    socket.session_changed(session, changes)
            case AccountChanged(user):
                sockets = tuple(self._sockets.get(f"user:{user}", ()))
                self._tasks.append(asyncio.create_task(self._recheck_twice(sockets)))

    async def _carry(self, notice: Notice) -> None:
        assert self._layer is not None
        # One constant type: a process of an older version must not die of a notice it does not know.
        await self._layer.group_send(GROUP, {"type": "chat.notice", "notice": msgspec.json.encode(notice).decode()})

    async def _join_group(self) -> str | None:
        """The channel on which notices come; None while the layer is down, which must not keep us from starting."""
        assert self._layer is not None
        try:
            async with asyncio.timeout(JOIN_SECONDS):
                channel: str = await self._layer.new_channel()
                await self._layer.group_add(GROUP, channel)
                return channel
        except Exception as error:
            log.warning("the channel layer does not answer; until it does we poll: %r", error)
            return None

    async def _receive(self, channel: str | None) -> None:
        assert self._layer is not None
        while True:
            while channel is None:
                await asyncio.sleep(1)
                channel = await self._join_group()
            try:
                message = await self._layer.receive(channel)
                self.engine.heard(msgspec.json.decode(message["notice"], type=Notice))
            except msgspec.MsgspecError as error:
                log.warning("a notice of another version: %s", error)
            except Exception:
                log.exception("the channel layer failed; polling goes on")
                await asyncio.sleep(1)  # a layer that is down fails at once, every time

    # Sign-ins that ended --------------------------------------------------------------------------------------------

    async def _recheck_for_ever(self) -> None:
        while True:
            # A socket whose sign-in ended is closed after this time even if every notice was lost.
            await asyncio.sleep(settings.CHAT_RECHECK_SECONDS)
            self._tasks = [task for task in self._tasks if not task.done()]
            await self._recheck(tuple(socket for sockets in self._sockets.values() for socket in sockets))

    async def _recheck_twice(self, sockets: tuple[Socket, ...]) -> None:
        await self._recheck(sockets)
        await asyncio.sleep(SETTLE_SECONDS)
        await self._recheck(sockets)

    async def _recheck(self, sockets: tuple[Socket, ...]) -> None:
        for socket in sockets:
            try:
                valid = await self.engine.readers.call(still_valid, socket.visitor)
            except (DatabaseError, InterfaceError) as error:
                tell(log, "sign-ins cannot be checked, they will be again", error)
                return
            except Exception:
                log.exception("a sign-in could not be checked; it will be again")
                return
            if not valid:
                socket.sign_out()


def _discard(sockets: dict[str, set[Socket]], key: str, socket: Socket) -> None:
    found = sockets.get(key)
    if found is not None:
        found.discard(socket)
        if not found:
            del sockets[key]
