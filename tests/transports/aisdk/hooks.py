"""The real `useChat` hooks in processes of node (node/driver.mjs)."""

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.packages import Node
from tests.servers import ServerProcess

PROJECT = Path(__file__).resolve().parent / "node"


class Hook:
    """A page with `useChat` of one generation: 3 (3.4), 4, 5 (5.0.0) or 7."""

    def __init__(self, generation: int, node: Node, home: Path) -> None:
        self.generation = generation
        # Beside its node_modules, where imports are looked up; by its contents, as checkouts share the folder.
        source = (PROJECT / "driver.mjs").read_bytes()
        driver = home / f"driver-{hashlib.sha256(source).hexdigest()[:16]}.mjs"
        if not driver.exists():
            beside = home / uuid4().hex
            beside.write_bytes(source)
            beside.replace(driver)
        self._process = subprocess.Popen(
            [node.node, str(driver), str(generation)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def __call__(self, command: str, **given: Any) -> dict[str, Any]:
        """The page's state after the command."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"command": command, **given}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        assert "failed" not in answer, answer["failed"]
        return answer

    def open(self, server: ServerProcess, cookie: str = "", **given: Any) -> "Hook":
        headers = {"Origin": server.origin} | ({"Cookie": cookie} if cookie else {})
        headers |= given.pop("headers", {})
        self("open", base=server.origin, headers=headers, **given)
        return self

    def send(self, text: str) -> dict[str, Any]:
        return self("send", text=text)

    def ended(self) -> dict[str, Any]:
        return self("wait", statuses=["ready", "error"])

    def ask(self, text: str) -> dict[str, Any]:
        self.send(text)
        return self.ended()
