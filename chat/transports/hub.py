"""The sockets of this process, and how notices of the engine reach them and the other processes.

One channel of the channel layer a process, not one a socket: a notice is sent once to each process, and a socket costs
the layer nothing. Chunks never come this way. A notice is an accelerator as a hint is: what it tells of is in the
database, which is asked about the open chat sessions once a second.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.conf import settings
from django.db import DatabaseError, InterfaceError

from chat.models.outage import tell
from chat.runs import places
from chat.runs.engine import Engine
from chat.runs.notices import AccountChanged, Notice, RunBegan, SessionNotice
from chat.runs.places import Place
from chat.transports.access import Visitor, still_valid

log = logging.getLogger(__name__)

GROUP = "chat.notices"
JOIN_SECONDS = 2
LOOK_SECONDS = 1
# Django tells of a logout before it deletes the session, and of a new password before its own request keeps it.
SETTLE_SECONDS = 1.5


class Socket(Protocol):
    visitor: Visitor

    def run_began(self, session: str, run: str) -> None: ...

    def session_changed(self, session: str, changes: dict[str, Any]) -> None: ...

    def sign_out(self) -> None: ...

    def server_stops(self) -> None: ...


class Hub:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._layer = get_channel_layer()
        self._sockets: dict[str, set[Socket]] = {}  # by requester
        self._open: dict[str, set[Socket]] = {}  # by chat session
        self._places: dict[str, Place] = {}  # as the sockets of an open chat session know it
        self._asked: set[str] = set()  # chat sessions that are looked at right now
        self._tasks: list[asyncio.Task[None]] = []
        self.stopping = False
        engine.listeners.append(self.heard)

    async def open(self) -> None:
        # A layer in memory reaches nobody but this process, which hears of its own notices at once without it.
        if self._layer is not None and not isinstance(self._layer, InMemoryChannelLayer):
            self._tasks.append(asyncio.create_task(self._receive(await self._join_group())))
            self._tasks.append(asyncio.create_task(self._look_for_ever()))
            self.engine.carrier = self._carry
        self._tasks.append(asyncio.create_task(self._recheck_for_ever()))

    def stop(self) -> None:
        """Tell everybody that is connected to come back, elsewhere or later."""
        self.stopping = True
        for sockets in tuple(self._sockets.values()):
            for socket in tuple(sockets):
                socket.server_stops()

    async def close(self) -> None:
        self.stop()
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
        if session not in self._open:
            self._places.pop(session, None)

    # Notices --------------------------------------------------------------------------------------------------------

    def heard(self, notice: Notice) -> None:
        match notice:
            case RunBegan(session, run):
                for socket in tuple(self._open.get(session, ())):
                    socket.run_began(session, run)
            case SessionNotice(session, requester, changes):
                self._changed(session, changes)
                for socket in tuple(self._sockets.get(requester, ())):
                    socket.session_changed(session, changes)
            case AccountChanged(user):
                sockets = tuple(self._sockets.get(f"user:{user}", ()))
                self._tasks.append(asyncio.create_task(self._recheck_twice(sockets)))

    async def _carry(self, notices: Sequence[Notice]) -> None:
        assert self._layer is not None
        # One constant type: a process of an older version must not die of a notice it does not know.
        message = {"type": "chat.notices", "from": self.engine.name, "json": msgspec.json.encode(notices).decode()}
        await self._layer.group_send(GROUP, message)

    async def _join_group(self, level: int = logging.WARNING) -> str | None:
        """The channel on which notices come; None while the layer is down, which must not keep us from starting."""
        assert self._layer is not None
        try:
            async with asyncio.timeout(JOIN_SECONDS):
                channel: str = await self._layer.new_channel()
                await self._layer.group_add(GROUP, channel)
                return channel
        except Exception as error:
            log.log(level, "the channel layer does not answer; until it does we poll: %r", error)
            return None

    async def _receive(self, channel: str | None) -> None:
        assert self._layer is not None
        while True:
            while channel is None:
                await asyncio.sleep(1)
                await self._forget_layer()
                channel = await self._join_group(logging.DEBUG)  # it was told of
            try:
                self._take(await self._layer.receive(channel))
            except Exception:
                log.exception("the channel layer failed; polling goes on")
                await asyncio.sleep(1)  # a layer that is down fails at once, every time

    def _take(self, message: dict[str, Any]) -> None:
        if message.get("from") == self.engine.name:
            return  # what was noticed here was heard here, at once
        for raw in _decoded(message.get("json", "[]"), list[msgspec.Raw]) or ():
            if notice := _decoded(raw, Notice):
                self.engine.heard(notice)

    async def _forget_layer(self) -> None:
        """It keeps a queue for each channel that it could not subscribe to."""
        assert self._layer is not None
        try:
            async with asyncio.timeout(JOIN_SECONDS):
                await self._layer.flush()
        except Exception as error:
            log.debug("the channel layer was not flushed: %r", error)

    # What notices tell, asked of the database -----------------------------------------------------------------------

    async def _look_for_ever(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._look()
            except (DatabaseError, InterfaceError) as error:
                tell(log, "open chat sessions cannot be looked at", error)
            except Exception:
                log.exception("the open chat sessions could not be looked at")

    async def _look(self) -> None:
        """Tell the sockets of an open chat session what has changed there, should no notice have done so."""
        self._asked = set(self._open)
        if not self._asked:
            return
        found, begun, gone = await self.engine.readers.call(places.news, frozenset(self._asked), self._places.copy())
        # A notice that was heard in the meantime is newer than the answer, or as new.
        self._asked &= self._open.keys()
        for session in self._asked & found.keys():
            self._places[session] = found[session]
            for socket in tuple(self._open[session]):
                socket.session_changed(session, found[session]._asdict())
        for session, run in begun:
            for socket in tuple(self._open.get(session, ())):
                socket.run_began(session, run)
        for session in self._asked & gone:
            self._places.pop(session, None)
            for socket in tuple(self._open[session]):
                socket.session_changed(session, {"deleted": True})

    def _changed(self, session: str, changes: dict[str, Any]) -> None:
        self._asked.discard(session)
        if changes.get("deleted"):
            self._places.pop(session, None)
        elif place := self._places.get(session):
            self._places[session] = place._replace(**{key: changes[key] for key in place._fields if key in changes})

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


def _decoded(data: Any, kind: Any) -> Any:
    """None, with a word in the log, for what another version of this program sent."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, TypeError) as error:
        log.warning("a notice of another version: %s", error)
        return None


def _discard(sockets: dict[str, set[Socket]], key: str, socket: Socket) -> None:
    found = sockets.get(key)
    if found is not None:
        found.discard(socket)
        if not found:
            del sockets[key]
