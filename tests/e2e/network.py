"""The network between browser and server, as a TCP relay that can be cut."""

import contextlib
import socket
import struct
import threading

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST


class Network:
    def __init__(self, port: int, server_port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._server_port = server_port
        self._up = True
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", port))
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Every connection breaks, and new ones are broken at once."""
        with self._lock:
            self._up = False
            broken, self._open = self._open, set()
        for end in broken:
            _break(end)

    def mend(self) -> None:
        with self._lock:
            self._up = True

    def close(self) -> None:
        # A close alone does not wake an accept() that waits in another thread.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._server_port))
        except OSError:
            _break(client)
            return
        with self._lock:
            up = self._up
            if up:
                self._open |= {client, server}
        if not up:
            _break(client)
            _break(server)
            return
        for source, target in ((client, server), (server, client)):
            threading.Thread(target=self._relay, args=(source, target), daemon=True).start()

    def _relay(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)
        with self._lock:
            ends = self._open & {source, target}
            self._open -= ends
        for end in ends:
            _close(end)


def _break(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    _close(end)


def _close(end: socket.socket) -> None:
    # shutdown first: the relaying thread that waits in recv() holds the connection open otherwise.
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
