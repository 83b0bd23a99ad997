"""The WebSocket at /ws/chat/: decodes operations, calls the engine, encodes frames (docs/protocol.md)."""

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from typing import Any
from uuid import UUID

import msgspec
from autobahn.exception import Disconnected
from channels.consumer import get_handler_name
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from msgspec import Struct

from chat.protocol import codec, frames
from chat.protocol import operations as ops
from chat.protocol.errors import RETRY_AFTER_SECONDS, ChatError, CloseCode
from chat.runs.engine import Engine
from chat.runs.start import AnyPrompt
from chat.transports import desk
from chat.transports.access import Refused, Visitor, check_origin, identify
from chat.transports.greeting import hello
from chat.transports.hub import Hub
from chat.transports.limits import FLOOD, TokenBucket
from chat.transports.relay import SEND_NOW, Relay, SendNow

log = logging.getLogger(__name__)

SUBPROTOCOL = "chat.v1"
TOLD_RUNS = 100
FOLLOW_AGAIN_SECONDS = 1.0
CHANGES = frozenset(frames.SessionChanged.__struct_fields__) - {"session"}


class ChatConsumer(AsyncWebsocketConsumer):
    """One socket. Channels hands it one message at a time, so an operation only asks and a task of its own relays."""

    # None of its own: the hub listens for all sockets of the process.
    channel_layer_alias = "no channel for each socket"

    engine: Engine
    hub: Hub
    visitor: Visitor

    def __init__(self) -> None:
        super().__init__()
        self._joined = False
        self._closing = False
        self._now: SendNow | None = None
        self._bucket = TokenBucket(settings.CHAT_OPERATIONS_PER_SECOND)
        self._relays: dict[str, Relay] = {}
        # Runs that were relayed here: a notice that comes late must not begin them anew.
        self._told: deque[str] = deque(maxlen=TOLD_RUNS)
        self._sessions: set[str] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        # Held by an operation: what a notice starts must not overtake the reply.
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._release()  # not in disconnect(): daphne may cancel us without calling it

    async def dispatch(self, message: dict[str, Any]) -> None:
        # Channels would hop to a thread before each message, to close connections that nothing here opens there.
        await getattr(self, get_handler_name(message))(message)

    def _release(self) -> None:
        self._leave()
        for task in self._tasks:
            task.cancel()

    def _leave(self) -> None:
        if self._joined:
            self.hub.leave(self)
        for session in self._sessions:
            self.hub.close_session(session, self)

    # The handshake --------------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        self._now = self.scope.get("extensions", {}).get(SEND_NOW)
        try:
            credentials = check_origin(self.scope)
            if (offered := self.scope["subprotocols"]) and SUBPROTOCOL not in offered:
                raise Refused(f"Only the subprotocol {SUBPROTOCOL} is spoken here.")
            self.engine, self.hub = await desk.open_desk()
            self.visitor = await self.engine.read(identify, credentials)
        except Refused as refused:
            await self._refuse(refused)
            return
        except ChatError:
            await self._try_later()
            return
        await self.accept(SUBPROTOCOL if offered else None)
        greeting = await hello(self.engine, self.visitor)
        # From here to hello nothing waits: what the hub has for a socket that joined must not overtake it.
        if self.hub.count(self.visitor) >= settings.CHAT_SOCKETS_PER_USER:
            await self._reply(_error("rate_limited", "Too many connections are open for you. Close another tab first."))
            await self._shut(CloseCode.FLOOD)
            return
        self.hub.join(self)
        self._joined = True
        await self._reply(greeting)

    async def _refuse(self, refused: Refused) -> None:
        log.info("a socket was refused: %s", refused.reason)
        if refused.code is None:
            await self.close()
        else:
            await self.accept()  # a browser is told the close code only of a socket that was open
            await self.close(int(refused.code))

    async def _try_later(self) -> None:
        """The database is away. HTTP 503 where the server can say it (daphne cannot), else the close code for it."""
        if "websocket.http.response" in self.scope.get("extensions", {}):
            headers = [(b"retry-after", b"%d" % RETRY_AFTER_SECONDS)]
            await self.base_send({"type": "websocket.http.response.start", "status": 503, "headers": headers})
            await self.base_send({"type": "websocket.http.response.body", "body": b"Try again in a moment.\n"})
        else:
            await self.accept()
            await self.close(int(CloseCode.TRY_LATER))

    # Operations -----------------------------------------------------------------------------------------------------

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if not self._joined:
            return
        if self._closing:
            raise StopConsumer  # daphne queues all that a flood sent, and would have us read it to its end
        try:
            if not self._bucket.take():
                await self._too_many(text_data)
            elif text_data is None:
                await self._reply(_error("bad_frame", "Binary frames are not understood. Send JSON as a text frame."))
            else:
                async with self._turn:
                    await self._operate(text_data)
        except OSError:
            log.debug("the client left before its reply")

    async def _operate(self, text: str) -> None:
        re = None
        try:
            operation = codec.decode(text, prompt_chars=settings.CHAT_PROMPT_CHARS)
            re = operation.id
            await self._perform(operation)
        except ChatError as error:
            await self._reply(frames.Error.of(error, re or codec.id_of(text)))
        except OSError:
            raise
        except Exception:
            log.exception("an operation failed")
            await self._reply(_error("internal", "Something went wrong on the server. Try again.", re))

    async def _too_many(self, text: str | None) -> None:
        if self._bucket.refused > FLOOD:
            await self._shut(CloseCode.FLOOD)
            return
        error = ChatError("rate_limited", "Too many operations a second. Wait a moment.", retry_after_s=1)
        await self._reply(frames.Error.of(error, codec.id_of(text) if text else None))

    async def _perform(self, operation: ops.Operation) -> None:
        if isinstance(operation, ops.CHANGING):
            self.visitor.check_may_write()
        match operation:
            case ops.Ack(run=run, seq=seq):
                if relay := self._relays.get(str(run)):
                    relay.ack(seq, settings.CHAT_ACK_TIMEOUT)
                return
            case ops.Ping():
                await self._reply(frames.Pong(re=operation.id))
                return
            case ops.PromptSend() | ops.MessageRegenerate():
                await self._start(operation)
                return
            case ops.SessionOpen():
                await self._open_session(operation)
                return
            case ops.RunFollow():
                await self._follow_run(operation)
                return
            case ops.RunUnfollow(run=run):
                await self.engine.read(self.visitor.owner.run, run)
                await self._unfollow(str(run))
            case ops.RunStop(run=run):
                await self.engine.stop(self.visitor.owner, run)
            case ops.SessionClose(session=session):
                await self.engine.read(self.visitor.owner.session, session)
                await self._close_session(str(session))
            case ops.BranchSelect(session=session, message=message):
                await self.engine.select_branch(self.visitor.owner, session, message)
        await self._reply(frames.Ok(re=operation.id))

    async def _start(self, asked: AnyPrompt) -> None:
        accepted = await self.engine.start(self.visitor.owner, asked)
        await self._reply(accepted.frame(asked.id))
        self._listen_to(str(accepted.session))
        await self._follow(accepted.run, session=str(accepted.session), queued=accepted.queued)

    async def _open_session(self, operation: ops.SessionOpen) -> None:
        session = str(operation.session)
        listened = session in self._sessions
        if operation.before is None:
            # Listen first and read second, so that no run begins unseen between the two.
            await self.engine.read(self.visitor.owner.session, operation.session)
            self._listen_to(session)
        try:
            state = await self.engine.state(self.visitor.owner, operation.session, operation.before)
        except ChatError:
            if not listened:
                await self._close_session(session)  # what is refused changes nothing
            raise
        asked_for = {run for run, relay in self._relays.items() if relay.session is None}
        for running in state.runs:
            await self._unfollow(running.run)  # the snapshot moves the socket's position
        await self._reply(msgspec.structs.replace(state, re=operation.id))
        for running in state.runs:
            # What run.follow asked for outlives session.close still.
            kept = None if running.run in asked_for else session
            await self._follow(UUID(running.run), running.seq, session=kept)

    async def _follow_run(self, operation: ops.RunFollow) -> None:
        follower = await self.engine.follow(self.visitor.owner, operation.run, operation.after)
        try:
            await self._unfollow(follower.key)
            await self._reply(frames.Ok(re=operation.id))
        except BaseException:
            follower.close()
            raise
        self._relay(Relay(follower, self._send_text, self._now, self._no_ack))

    # Following ------------------------------------------------------------------------------------------------------

    async def _follow(self, run: UUID, after: int = 0, *, session: str | None, queued: bool = False) -> None:
        if str(run) in self._relays:
            return
        try:
            follower = await self.engine.follow(self.visitor.owner, run, after, queued=queued)
        except ChatError as error:
            if error.code != "unavailable":
                raise
            self._spawn(self._follow_later(run, after, session))
        else:
            self._relay(Relay(follower, self._send_text, self._now, self._no_ack, session))

    async def _follow_later(self, run: UUID, after: int, session: str | None) -> None:
        """What it belongs to was answered already, so its events must come whenever the database is back."""
        await asyncio.sleep(FOLLOW_AGAIN_SECONDS)
        async with self._turn:
            if session is None or session in self._sessions:
                await self._follow(run, after, session=session)

    def _relay(self, relay: Relay) -> None:
        key = relay.follower.key
        self._relays[key] = relay
        self._told.append(key)
        relay.task = self._spawn(relay.run())

        def done(_: object) -> None:
            relay.follower.close()  # a task that is cancelled before its first step never gets to close it
            if self._relays.get(key) is relay:
                del self._relays[key]

        relay.task.add_done_callback(done)

    async def _unfollow(self, run: str) -> None:
        if relay := self._relays.pop(run, None):
            await relay.stop()

    def _listen_to(self, session: str) -> None:
        self._sessions.add(session)
        self.hub.open_session(session, self)

    async def _close_session(self, session: str) -> None:
        self._sessions.discard(session)
        self.hub.close_session(session, self)
        for run, relay in list(self._relays.items()):
            if relay.session == session:
                await self._unfollow(run)

    def _no_ack(self) -> None:
        self._spawn(self._shut(CloseCode.NO_ACK))

    # Called by the hub ----------------------------------------------------------------------------------------------

    def run_began(self, session: str, run: str) -> None:
        self._spawn(self._follow_in_turn(session, UUID(run)))

    async def _follow_in_turn(self, session: str, run: UUID) -> None:
        async with self._turn:
            if session in self._sessions and str(run) not in self._told:
                await self._follow(run, session=session)

    def session_changed(self, session: str, changes: dict[str, Any]) -> None:
        # A process of a newer version may tell of more.
        known = {name: value for name, value in changes.items() if name in CHANGES}
        self._spawn(self._reply_in_turn(frames.SessionChanged(session=session, **known)))

    async def _reply_in_turn(self, frame: Struct) -> None:
        async with self._turn:
            await self._reply(frame)

    def sign_out(self) -> None:
        self._spawn(self._shut(CloseCode.SIGNED_OUT))

    def server_stops(self) -> None:
        """Nothing to do: the server itself closes its sockets."""

    # Sending --------------------------------------------------------------------------------------------------------

    async def _reply(self, frame: Struct) -> None:
        await self._send_text(frames.encode(frame))

    async def _send_text(self, text: str) -> None:
        """Raises OSError when nobody is there to read it."""
        if self._closing:
            raise ConnectionAbortedError  # uvicorn calls a frame after the close a bug of ours, and logs it as one
        if self._now is not None and self._now(text):
            return
        try:
            await self.base_send({"type": "websocket.send", "text": text})
        except Disconnected as error:  # daphne's word for it; uvicorn's is an OSError
            raise ConnectionAbortedError from error

    async def _shut(self, code: CloseCode) -> None:
        if not self._closing:
            self._closing = True
            self._leave()
            await self.close(int(code))  # daphne refuses every subclass of int

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) and not isinstance(error, OSError | ChatError):
            log.error("a socket's task failed", exc_info=error)


def _error(code: str, message: str, re: str | None = None) -> frames.Error:
    return frames.Error.of(ChatError(code, message), re)


class NoRoute(AsyncWebsocketConsumer):
    """What Channels does with an unknown path is a traceback and HTTP 500."""

    channel_layer_alias = ChatConsumer.channel_layer_alias

    async def connect(self) -> None:
        await self.accept()
        await self.close(int(CloseCode.NO_ROUTE))
