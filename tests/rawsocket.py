"""A WebSocket client without manners: it sends any bytes as a handshake and any bits as a frame."""

import base64
import contextlib
import json
import os
import socket
import struct
from typing import Any, NamedTuple, Self

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


class Received(NamedTuple):
    opcode: int
    payload: bytes

    @property
    def close_code(self) -> int:
        return int.from_bytes(self.payload[:2])


class RawSocket:
    def __init__(self, port: int, *headers: str, path: str = "/ws/chat/", timeout: float = 10) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.reader = self.socket.makefile("rb")
        self.status = self._handshake(port, path, headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.reader.close()
        self.socket.close()

    def _handshake(self, port: int, path: str, headers: tuple[str, ...]) -> int:
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            "Sec-WebSocket-Version: 13",
            *headers,
        ]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())
        status = self.reader.readline()
        self.headers = [line.decode().strip() for line in iter(self.reader.readline, b"\r\n") if line]
        return int(status.split()[1]) if status else 0

    def send(self, payload: bytes, opcode: int = TEXT, *, fin: bool = True, rsv: int = 0, masked: bool = True) -> None:
        self.socket.sendall(frame(payload, opcode, fin=fin, rsv=rsv, masked=masked))

    def receive(self) -> Received | None:
        """The next frame; None when the server ended the connection, with or without manners."""
        try:
            head = self.reader.read(2)
            if len(head) < 2:
                return None
            size = head[1] & 0x7F
            if size == 126:
                size = int.from_bytes(self.reader.read(2))
            elif size == 127:
                size = int.from_bytes(self.reader.read(8))
            return Received(head[0] & 0x0F, self.reader.read(size))
        except ConnectionError:
            return None

    def message(self) -> dict[str, Any]:
        """The next text frame, as JSON."""
        while True:
            received = self.receive()
            assert received is not None, "the connection ended"
            if received.opcode == TEXT:
                message: dict[str, Any] = json.loads(received.payload)
                return message
            assert received.opcode in {PING, PONG}, received

    def ending(self) -> int | None:
        """Read to the end of the connection: the close code, or None for an end without one."""
        code = None
        while received := self.receive():
            if received.opcode == CLOSE:
                code = received.close_code
                with contextlib.suppress(ConnectionError):
                    self.send(received.payload, CLOSE)  # uvicorn waits ten seconds for it
        return code


def frame(payload: bytes, opcode: int = TEXT, *, fin: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    mask_bit = 0x80 if masked else 0
    if len(payload) < 126:
        head += bytes([mask_bit | len(payload)])
    elif len(payload) < 65_536:
        head += struct.pack("!BH", mask_bit | 126, len(payload))
    else:
        head += struct.pack("!BQ", mask_bit | 127, len(payload))
    return head + bytes(4) + payload if masked else head + payload  # a mask of zeros changes nothing
