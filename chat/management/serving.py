"""One listening socket, and the two servers that can serve the project on it.

The socket is bound before anything else is done, so that a taken port is told at once, and the server gets that very
socket: nothing can take the port between the check and the start. The limits are the same on both servers.
"""

import asyncio
import errno
import ipaddress
import signal
import socket
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, NoReturn

import uvicorn
from autobahn.exception import Disconnected
from daphne.server import Server as DaphneServer  # installs the asyncio reactor: stays above twisted's own import
from daphne.ws_protocol import WebSocketProtocol
from django.core.management.base import CommandError
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from chat.management.daphne_request import DaphneFactory
from chat.management.uvicorn_http import UvicornHttp
from chat.management.uvicorn_socket import UvicornSocket
from chat.transports import desk
from chat.transports.hang_up import HANG_UP

MAX_FRAME_BYTES = 1024 * 1024
# Daphne has no back-pressure: a client that asks for large frames and reads none of them would fill the memory.
MAX_UNREAD_BYTES = 16 * 1024 * 1024
# A stream can wait: that much of it is sent ahead of who reads slowly, and so often it is looked again.
UNREAD_STREAM_BYTES = 256 * 1024
UNREAD_PAUSE_SECONDS = 0.02
PING_SECONDS = 20
# Longer than a slow answer needs to reach its next stored chunk, shorter than what process managers wait for.
GRACE_SECONDS = 10
BACKLOG = 2048

Application = Callable[..., Any]


def bind(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen yet: nobody is let in before the database is ready."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise CommandError(f"HOST={host} is no address of this machine: {error.strerror}.") from error
    family, kind, protocol, _, address = min(found, key=lambda info: info[0] != socket.AF_INET)
    listener = socket.socket(family, kind, protocol)
    listener.setblocking(False)
    # A server that just stopped leaves connections in TIME_WAIT; the next start must not wait for them.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise CommandError(_bind_problem(host, port, error)) from error
    return listener


def _bind_problem(host: str, port: int, error: OSError) -> str:
    other = port + 1 if port < 65_535 else 8000
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} is taken by another program. Choose another one: PORT={other} make run"
    if error.errno == errno.EACCES:
        return f"Port {port} needs special rights here. Choose one above 1023: PORT=8000 make run"
    return f"Cannot listen on {host}:{port}: {error.strerror}."


def listen(listener: socket.socket, host: str, port: int) -> None:
    # Two sockets may be bound to one port until the first of them listens (SO_REUSEADDR on Linux).
    try:
        listener.listen(BACKLOG)
    except OSError as error:
        raise CommandError(_bind_problem(host, port, error)) from error


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def browser_host(host: str) -> str:
    """What a browser on this machine can open: a wildcard address is none, and IPv6 goes in brackets."""
    bare = host.strip("[]")
    bare = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bare, bare)  # noqa: S104 - compared, not bound
    return f"[{bare}]" if ":" in bare else bare


def stop_on_signals() -> None:
    """SIGTERM ends the process the way Ctrl-C does, so that both run the same clean-up, at any moment."""

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


class DaphneSocket(WebSocketProtocol):  # type: ignore[misc]
    maxMessagePayloadSize: int  # noqa: N815 - autobahn's name

    def sendMessage(self, *args: Any, **kwargs: Any) -> None:  # noqa: N802 - autobahn's name
        if _unsent(self.transport) > MAX_UNREAD_BYTES:
            self.transport.abortConnection()
            raise Disconnected("the client does not read")
        # autobahn holds what we send to the limit for what we receive: a long chat session could not be opened.
        most, self.maxMessagePayloadSize = self.maxMessagePayloadSize, 0
        try:
            super().sendMessage(*args, **kwargs)
        finally:
            self.maxMessagePayloadSize = most


def _unsent(transport: Any) -> int:
    """Bytes that Twisted holds for a client that does not read. It has no public word for it."""
    return len(transport.dataBuffer) - int(transport.offset) + int(transport._tempDataLen)


def _unsent_of(request: Any) -> int:
    """Of a request's connection; 0 once that is lost."""
    return _unsent(request.channel.transport) if request.channel is not None else 0


def _hang_up(request: Any) -> None:
    """Close after what was written, without the end of the body."""
    if request.channel is not None:
        request.channel.loseConnection()


class Daphne(DaphneServer):  # type: ignore[misc]
    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        """Daphne's own takes all of a stream for a client that reads nothing."""
        while message.get("more_body") and _unsent_of(protocol) > UNREAD_STREAM_BYTES:  # noqa: ASYNC110
            await asyncio.sleep(UNREAD_PAUSE_SECONDS)
        await super().handle_reply(protocol, message)

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        if scope["type"] == "http":
            scope["extensions"] = {HANG_UP: partial(_hang_up, protocol)}
        return super().create_application(protocol, scope)

    def kill_all_applications(self) -> "Deferred[list[Any]]":
        """Cancels what still runs.

        Daphne 4.2.3 stops here with a KeyError after any WebSocket handshake, as that request has no application of
        its own. Nothing is cancelled then, and the interpreter crashes (SIGSEGV) when it frees the pending coroutines.
        """
        applications = [details.get("application_instance") for details in self.connections.values()]
        running = [task for task in applications if task is not None and not task.done()]
        for task in running:
            task.cancel()
        return Deferred.fromFuture(asyncio.gather(*running, return_exceptions=True))


def finish_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """What asyncio.run does at its end, and a stopped reactor does not: no task may outlive its loop."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=GRACE_SECONDS))
    loop.run_until_complete(loop.shutdown_asyncgens())


def run_daphne(listener: socket.socket, application: Application) -> None:
    def adopt() -> None:
        server.ws_factory.protocol = DaphneSocket
        reactor.adoptStreamPort(listener.fileno(), listener.family, DaphneFactory(server))

    server = Daphne(
        application=application,
        endpoints=["the bound socket"],
        websocket_max_message_size=MAX_FRAME_BYTES,
        websocket_max_frame_size=MAX_FRAME_BYTES,
        ping_interval=PING_SECONDS,
        ping_timeout=30,
        application_close_timeout=GRACE_SECONDS,
        ready_callable=adopt,
        server_name="tokenwire",
    )
    # Daphne's own "fd:" endpoint takes no IPv6 socket (it passes the family on as text) and exits 0 when it fails.
    server.endpoints = []
    server.run()
    finish_tasks(asyncio.get_event_loop())


class Uvicorn(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # First of all: it waits for open connections, and tells the application only then.
        desk.end_streams()
        await super().shutdown(sockets)


def run_uvicorn(listener: socket.socket, application: Application) -> None:
    config = uvicorn.Config(
        application,
        loop="uvloop",
        http=UvicornHttp,
        ws=UvicornSocket,
        ws_max_size=MAX_FRAME_BYTES,
        ws_per_message_deflate=False,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PING_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        lifespan="on",
        access_log=False,
        log_config=None,
        # By default any process on this machine may claim to be a proxy and choose its client address.
        proxy_headers=False,
        server_header=False,
    )
    # Once drained, uvicorn raises the signal again for the handler that was there before: ours, a KeyboardInterrupt.
    Uvicorn(config).run(sockets=[listener])


SERVERS: dict[str, Callable[[socket.socket, Application], None]] = {"daphne": run_daphne, "uvicorn": run_uvicorn}
