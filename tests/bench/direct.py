"""The upstream's own first token: what a client sees that has no server in between."""

import socket
import time
from statistics import median
from urllib.parse import urlsplit

import msgspec

from tests.upstream import Scenario

TIMES = 20


def first_token_ms(base_url: str, scenario: Scenario) -> float:
    return median(_once(base_url, scenario.prompt) for _ in range(TIMES))


def _once(base_url: str, prompt: str) -> float:
    at = urlsplit(base_url)
    asked = {"model": "bench", "stream": True, "messages": [{"role": "user", "content": prompt}]}
    body = msgspec.json.encode(asked)
    head = f"POST {at.path}/chat/completions HTTP/1.1\r\nHost: {at.netloc}\r\nContent-Length: {len(body)}\r\n\r\n"
    began, seen = time.monotonic(), b""
    with socket.create_connection((at.hostname or "", at.port or 80)) as connection:
        connection.sendall(head.encode() + body)
        # The role comes first, with an empty text; the second delta is the first token.
        while seen.count(b'"content":') < 2:
            seen += connection.recv(65_536)
    return (time.monotonic() - began) * 1000
