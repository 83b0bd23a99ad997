"""A WebSocket client that believes nothing: every seq, every merge and the final text of every run are checked."""

import asyncio
import hashlib
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self, TypedDict

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

Frame = dict[str, Any]

TERMINAL = {"run.completed", "run.stopped", "run.failed"}
EVENTS = TERMINAL | {"run.started", "run.restarted", "text.delta", "reasoning.delta"}
PATIENCE_S = 15.0


class Who(TypedDict):
    """What a page of our own brings along, as arguments of Client.connect."""

    cookie: str
    origin: str


class Violation(AssertionError):
    """The server broke the protocol."""


class RunView:
    """What a client knows of one run. It outlives its socket: after a reconnect it goes on at `seq`."""

    def __init__(self, run: str, seq: int = 0, parts: list[dict[str, str]] | None = None) -> None:
        self.run = run
        self.seq = seq
        self.parts: list[dict[str, str]] = [dict(part) for part in parts or []]
        self.attempt = 0
        self.restarts = 0
        self.ended: Frame | None = None
        self.frames: list[Frame] = []

    @property
    def text(self) -> str:
        return self._joined("text")

    @property
    def reasoning(self) -> str:
        return self._joined("reasoning")

    def _joined(self, kind: str) -> str:
        return "".join(part["text"] for part in self.parts if part["type"] == kind)

    def take(self, frame: Frame) -> None:
        self.frames.append(frame)
        if self.ended is not None:
            raise Violation(f"{frame['type']} after {self.ended['type']}")
        if frame["type"] == "run.snapshot":
            self._take_snapshot(frame)
            return
        first = frame.get("from", frame["seq"])
        if first != self.seq + 1 or frame["seq"] < first:
            raise Violation(f"{frame['type']} covers {first} to {frame['seq']}, the next is {self.seq + 1}")
        if "from" in frame and not frame["type"].endswith(".delta"):
            raise Violation(f"a merged {frame['type']}")
        self.seq = frame["seq"]
        self._apply(frame)

    def _take_snapshot(self, frame: Frame) -> None:
        self.seq, self.attempt = frame["seq"], frame["attempt"]
        self.parts = [dict(part) for part in frame["parts"]]
        if frame["text"] != self.text:
            raise Violation("the snapshot's text is not that of its parts")

    def _apply(self, frame: Frame) -> None:
        match frame["type"]:
            case "run.started":
                self.attempt = frame["attempt"]
            case "run.restarted":
                if frame["attempt"] <= self.attempt:
                    raise Violation(f"attempt {frame['attempt']} after {self.attempt}")
                self.attempt = frame["attempt"]
                self.restarts += 1
                self.parts = [dict(part) for part in frame["parts"]]
            case "text.delta" | "reasoning.delta":
                self._delta(frame)
            case _:
                self._end(frame)

    def _delta(self, frame: Frame) -> None:
        kind = frame["type"].removesuffix(".delta")
        if frame["part"] == len(self.parts):
            self.parts.append({"type": kind, "text": ""})
        if frame["part"] >= len(self.parts) or self.parts[frame["part"]]["type"] != kind:
            raise Violation(f"part {frame['part']} of kind {kind} does not fit {len(self.parts)} parts")
        self.parts[frame["part"]]["text"] += frame["text"]

    def _end(self, frame: Frame) -> None:
        if frame["type"] not in TERMINAL:
            raise Violation(f"unknown event {frame['type']}")
        self.ended = frame
        if frame["text_length"] != len(self.text):
            raise Violation(f"{frame['text_length']} code points announced, {len(self.text)} received")
        if frame["text_sha256"] != hashlib.sha256(self.text.encode()).hexdigest():
            raise Violation("text_sha256 does not fit the text received")


class Client:
    """One socket. Frames are read when a test waits for something, so that a test decides when a client is slow."""

    _ids = itertools.count(1)

    def __init__(self, socket: ClientConnection, runs: dict[str, RunView] | None = None) -> None:
        self.socket = socket
        self.runs: dict[str, RunView] = {} if runs is None else runs
        self.frames: list[Frame] = []  # all, in order of arrival
        self.hello: Frame = {}

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        url: str,
        *,
        cookie: str = "",
        headers: dict[str, str] | None = None,
        origin: str | None = None,
        subprotocols: list[str] | None = None,
        runs: dict[str, RunView] | None = None,
    ) -> AsyncIterator[Self]:
        headers = {**({"Cookie": cookie} if cookie else {}), **(headers or {})}
        async with connect(
            url,
            additional_headers=headers,
            origin=origin,  # type: ignore[arg-type]
            subprotocols=subprotocols,  # type: ignore[arg-type]
            compression=None,
            proxy=None,
            max_size=None,
            open_timeout=PATIENCE_S,
            close_timeout=1,
        ) as socket:
            client = cls(socket, runs)
            client.hello = await client.read()
            if client.hello["type"] != "hello":
                raise Violation(f"{client.hello['type']} came before hello")
            yield client

    # Reading --------------------------------------------------------------------------------------------------------

    async def read(self) -> Frame:
        async with asyncio.timeout(PATIENCE_S):
            text = await self.socket.recv()
        if not isinstance(text, str):
            raise Violation("a binary frame")
        frame: Frame = json.loads(text)
        self.frames.append(frame)
        if frame["type"] in EVENTS or frame["type"] == "run.snapshot":
            self.view(frame["run"]).take(frame)
        elif frame["type"] == "session.state":
            for running in frame["runs"]:
                self.runs[running["run"]] = view = RunView(running["run"])
                view.take(running)
        return frame

    def view(self, run: str) -> RunView:
        return self.runs.setdefault(run, RunView(run))

    async def until(self, holds: Callable[[Frame], bool]) -> Frame:
        """The next frame for which it holds; those before are taken as well."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                frame = await self.read()
                if holds(frame):
                    return frame

    async def until_type(self, type_: str, **fields: Any) -> Frame:
        def fits(frame: Frame) -> bool:
            return frame["type"] == type_ and all(frame.get(name) == value for name, value in fields.items())

        return await self.until(fits)

    async def ended(self, run: str) -> RunView:
        """Read until the run's terminal frame, if it has not come yet."""
        view = self.view(run)
        while view.ended is None:
            await self.read()
        return view

    async def closed(self) -> int | None:
        """Read until the server closes; the close code."""
        try:
            while True:
                await self.read()
        except ConnectionClosed:
            return self.socket.close_code

    async def quiet(self) -> list[Frame]:
        """What had been sent before the reply to a ping: whatever else is under way comes later."""
        before = len(self.frames)
        await self.ask("ping")
        return self.frames[before:-1]

    # Asking ---------------------------------------------------------------------------------------------------------

    async def send(self, type_: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": type_, **fields}))

    async def ask(self, type_: str, **fields: Any) -> Frame:
        """The reply, or the error, that echoes the operation's id."""
        id_ = fields.setdefault("id", f"c{next(self._ids)}")
        await self.send(type_, **fields)
        return await self.until(lambda frame: frame.get("re") == id_)

    async def prompt(self, text: str, **fields: Any) -> Frame:
        """run.accepted; anything else is a failure of the test."""
        reply = await self.ask("prompt.send", text=text, **fields)
        if reply["type"] != "run.accepted":
            raise AssertionError(reply)
        return reply

    async def follow(self, view: RunView) -> Frame:
        """Follow the run from where `view` is now; what is under way until the reply belongs to the old position."""
        place = view.seq, view.attempt, [dict(part) for part in view.parts]
        reply = await self.ask("run.follow", run=view.run, after=view.seq)
        if reply["type"] == "ok":
            view.seq, view.attempt, view.parts = place
            view.ended = None
            self.runs[view.run] = view
        return reply
