"""Random sequences of submit, read, cut, resume, stop and crash against a simple model of the protocol."""

import asyncio
from collections.abc import Coroutine
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, rule

from chat.models import Run
from chat.protocol.errors import ChatError
from chat.protocol.operations import PromptSend
from chat.providers.base import Request
from chat.runs.engine import Engine
from chat.runs.follow import snapshot
from chat.runs.owner import Owner
from tests.fakes import ScriptedProvider, Step
from tests.runs.helpers import Client, check, crash, expire, nothing_left_active

MOMENT = 0.004


class Asked:
    """What the model knows of one run: the text its answer will have, and how far it may be written by now."""

    def __init__(self, prompt: PromptSend, pieces: list[str]) -> None:
        self.prompt = prompt
        self.pieces = pieces
        self.gates = [asyncio.Event() for _ in pieces]
        self.released = 0
        self.crashes = 0
        self.stopped = False
        self.run: UUID | None = None
        self.session: UUID | None = None

    @property
    def whole(self) -> str:
        return "".join(self.pieces)

    def release(self, many: int) -> None:
        for gate in self.gates[self.released : self.released + many]:
            gate.set()
        self.released = min(len(self.pieces), self.released + many)

    def steps(self) -> list[Step]:
        return [step for gate, piece in zip(self.gates, self.pieces, strict=True) for step in (gate, piece)]


class ChatMachine(RuleBasedStateMachine):
    """Needs an empty or at least quiet database; `sequences` counts those that held."""

    sequences = 0
    asked = Bundle("asked")
    clients = Bundle("clients")

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.alice = Owner(user=User.objects.get_or_create(username="machine")[0].pk)
        self.known: dict[str, Asked] = {}
        self.readers: list[tuple[Client, Asked]] = []
        self.provider = ScriptedProvider()
        self.provider.script = self._script
        self._open()

    def _script(self, request: Request) -> list[Step]:
        return self.known[request.turns[-1].text].steps()

    def _open(self) -> None:
        self.engine = Engine(self.provider)
        self.do(self.engine.open())

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Time passes for the engine only in here."""

        async def limited() -> Any:
            async with asyncio.timeout(20):
                return await work

        return self.runner.run(limited())

    # The user ------------------------------------------------------------------------------------------------------

    @rule(target=asked, pieces=st.lists(st.text("aé😀 \n", min_size=1, max_size=5), min_size=1, max_size=6))
    def submit(self, pieces: list[str]) -> Asked:
        number = str(len(self.known))
        # Ids are unique per user for a day, and the user outlives this machine.
        asked = Asked(PromptSend(text=number, id=f"{id(self)}:{self.sequences}:{number}"), pieces)
        self.known[number] = asked
        accepted = self.do(self.engine.start(self.alice, asked.prompt))
        assert not accepted.repeat
        asked.run, asked.session = accepted.run, accepted.session
        return asked

    @rule(asked=asked)
    def submit_again(self, asked: Asked) -> None:
        accepted = self.do(self.engine.start(self.alice, asked.prompt))
        assert (accepted.run, accepted.repeat) == (asked.run, True)

    @rule(asked=asked)
    def submit_another_body(self, asked: Asked) -> None:
        other = PromptSend(text="another", id=asked.prompt.id)
        with pytest.raises(ChatError, match="conflict"):
            self.do(self.engine.start(self.alice, other))

    @rule(target=clients, asked=asked)
    def follow(self, asked: Asked) -> Client:
        assert asked.run is not None
        client = Client(self.engine, self.alice, asked.run)
        self.readers.append((client, asked))
        return client

    @rule(client=clients, moments=st.integers(1, 3))
    def read_some(self, client: Client, moments: int) -> None:
        async def read() -> None:
            reading = asyncio.create_task(client.read())
            await asyncio.wait([reading], timeout=MOMENT * moments)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            if not reading.cancelled():
                reading.result()

        self.do(read())

    @rule(client=clients)
    def cut(self, client: Client) -> None:
        client.cut()

    @rule(client=clients)
    def resume_from_a_snapshot(self, client: Client) -> None:
        if client.ended is None:
            client.cut()
            client.resume_from(self.do(self.engine.readers.call(snapshot, client.run)))

    @rule(asked=asked)
    def stop(self, asked: Asked) -> None:
        assert asked.run is not None
        self.do(self.engine.stop(self.alice, asked.run))
        asked.stopped = True

    # The world -----------------------------------------------------------------------------------------------------

    @rule(asked=asked, many=st.integers(1, 6))
    def the_model_writes(self, asked: Asked, many: int) -> None:
        asked.release(many)
        self.do(asyncio.sleep(MOMENT))

    @rule()
    def the_process_dies(self) -> None:
        self.do(crash(self.engine))
        running = set(Run.objects.filter(status=Run.Status.RUNNING).values_list("id", flat=True))
        for asked in self.known.values():
            asked.crashes += asked.run in running
        self.do(expire())
        self._again()

    @rule()
    def the_process_is_replaced(self) -> None:
        self.do(self.engine.close())
        self._again()

    def _again(self) -> None:
        self._open()
        for client, _ in self.readers:
            client.cut()
            client.engine = self.engine

    # The law -------------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        if not hasattr(self, "runner"):
            return
        try:
            for asked in self.known.values():
                asked.release(len(asked.pieces))
            for asked in self.known.values():
                self.do(self._read_to_the_end(asked))
            for client, _ in self.readers:
                self.do(client.read())
                client.check()
                assert client.answer.text == check(client.run).message.text
            for asked in self.known.values():
                self._check(asked)
            nothing_left_active()
            type(self).sequences += 1
        finally:
            self.do(self.engine.close())
            self.runner.close()

    async def _read_to_the_end(self, asked: Asked) -> None:
        assert asked.run is not None
        client = await Client(self.engine, self.alice, asked.run).read()
        client.check()

    def _check(self, asked: Asked) -> None:
        assert asked.run is not None
        run = check(asked.run)
        if run.status == "completed":
            assert run.message.text == asked.whole
        else:
            assert asked.whole.startswith(run.message.text)
        assert run.status != "stopped" or asked.stopped
        # Only deaths count towards the limit of attempts, not a graceful end.
        assert run.status != "failed" or (run.error_code == "worker_lost" and asked.crashes >= 2)
