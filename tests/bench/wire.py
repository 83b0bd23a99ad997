"""Just enough WebSocket (RFC 6455) for a load client and a relay that must not be the cost that is measured."""

import base64
import hashlib
import struct

TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = base64.b64encode(b"tokenwire-bench!")


class WireError(Exception):
    """The peer did something that this small reader does not speak."""


def accept_value(key: bytes) -> bytes:
    return base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())


def upgrade_request(port: int, path: str) -> bytes:
    # No Origin and no cookie: a guest that is not a browser.
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY.decode()}",
        "Sec-WebSocket-Version: 13",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def upgrade_answer(request: bytes) -> bytes:
    for line in request.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"sec-websocket-key":
            head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            return head + b"Sec-WebSocket-Accept: " + accept_value(value.strip()) + b"\r\n\r\n"
    raise WireError("no Sec-WebSocket-Key in the request")


def server_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    return struct.pack("!BBH", 0x80 | opcode, 126, size) + payload


def client_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """Masked with a key of zeros, which every server accepts and which costs the client nothing."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, 0x80 | size, 0, 0, 0, 0)) + payload
    return struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size) + bytes(4) + payload


class FrameReader:
    """Bytes in, whole frames out; what is left of a frame waits for the next read."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        if self._rest:
            data = self._rest + data
        frames: list[tuple[int, bytes]] = []
        at, end = 0, len(data)
        while end - at >= 2:
            if not data[at] & 0x80:
                raise WireError("a fragmented message")
            start, size = _payload_at(data, at)
            if start + size > end or start > end:
                break
            payload = data[start : start + size]
            if data[at + 1] & 0x80:
                payload = _unmask(payload, data[start - 4 : start])
            frames.append((data[at] & 0x0F, payload))
            at = start + size
        self._rest = data[at:]
        return frames


def _payload_at(data: bytes, at: int) -> tuple[int, int]:
    """Where the payload of the frame at `at` starts and its size; the header itself may still be incomplete."""
    size = data[at + 1] & 0x7F
    start = at + 2
    if size == 126:
        start, size = at + 4, int.from_bytes(data[at + 2 : at + 4])
    elif size == 127:
        start, size = at + 10, int.from_bytes(data[at + 2 : at + 10])
    return (start + 4 if data[at + 1] & 0x80 else start), size


def _unmask(payload: bytes, key: bytes) -> bytes:
    if key == bytes(4):
        return payload
    pad = (key * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload) ^ int.from_bytes(pad)).to_bytes(len(payload))
