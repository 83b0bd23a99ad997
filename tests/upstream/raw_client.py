"""A raw-socket client of the test upstream: it shows what is on the wire, with no library in between."""

import json
import socket
from typing import Any

import msgspec

from tests.upstream import (
    Scenario,
    UpstreamServer,
)

PROMPT = "Hello"


class Client:
    def __init__(self, base_url: str) -> None:
        host, port = base_url.split("/")[2].split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=3)
        self.reader = self.socket.makefile("rb")
        self.status = 0
        self.headers: dict[str, str] = {}

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exc: object) -> None:
        self.reader.close()
        self.socket.close()

    def send(self, method: str, path: str, body: dict[str, Any] | None = None, headers: str = "") -> None:
        content = b"" if body is None else msgspec.json.encode(body)
        head = f"{method} {path} HTTP/1.1\r\nhost: up\r\ncontent-length: {len(content)}\r\n{headers}\r\n"
        self.socket.sendall(head.encode() + content)

    def ask(self, scenario: Scenario, **more: Any) -> None:
        self.send("POST", "/v1/chat/completions", chat(scenario.prompt, **more))

    def read_head(self) -> None:
        line = self.reader.readline()
        if not line:
            raise EOFError
        self.status = int(line.split()[1])
        lines = iter(self.reader.readline, b"\r\n")
        self.headers = dict(line.decode().strip().split(": ", 1) for line in lines)

    def read_frame(self) -> bytes:
        """One frame of the chunked body; nothing at its end."""
        size = self.reader.readline()
        if not size:
            raise EOFError
        frame = self.reader.read(int(size, 16))
        self.reader.readline()
        return frame

    def read_body(self) -> bytes:
        if "content-length" in self.headers:
            return self.reader.read(int(self.headers["content-length"]))
        if "transfer-encoding" not in self.headers:
            return self.reader.read()
        return b"".join(iter(self.read_frame, b""))

    def get(self, method: str, path: str, headers: str = "") -> Any:
        self.send(method, path, headers=headers)
        self.read_head()
        return json.loads(self.read_body())


def chat(prompt: str, **more: Any) -> dict[str, Any]:
    return {"model": "test-model", "stream": True, "messages": [{"role": "user", "content": prompt}], **more}


def body_of(up: UpstreamServer, scenario: Scenario, **more: Any) -> bytes:
    with Client(up.base_url) as client:
        client.ask(scenario, **more)
        client.read_head()
        assert client.status == 200
        return client.read_body()


def events(body: bytes) -> list[Any]:
    """The decoded events; the last is None when [DONE] came."""
    found = [block.removeprefix(b"data: ") for block in body.split(b"\n\n")[:-1]]
    return [None if data == b"[DONE]" else json.loads(data) for data in found]


def deltas(body: bytes) -> list[dict[str, Any]]:
    chunks = [event for event in events(body) if event is not None]
    return [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]


def text_of(body: bytes, field: str = "content") -> str:
    return "".join(delta.get(field) or "" for delta in deltas(body))


def read_until_cut(up: UpstreamServer, scenario: Scenario) -> bytes:
    """What came before the RST."""
    came = b""
    with Client(up.base_url) as client:
        client.ask(scenario)
        try:
            while data := client.socket.recv(65536):
                came += data
        except ConnectionResetError:
            return came
    raise AssertionError("a FIN came, not an RST")
