import asyncio

import pytest
from websockets.exceptions import ConnectionClosed

from tests.servers import ServerProcess
from tests.transports.people import People
from tests.upstream import Scenario, expected_text
from tests.wsclient import Client, RunView, Who

WINDOW = 256 * 1024
BIG = Scenario(seed="big", chunks=100, huge_chunk=1_500_000, first_token_delay=0.3)


async def test_a_client_that_stops_acknowledging_gets_a_window_and_then_4408(
    server: ServerProcess, people: People
) -> None:
    who = Who(cookie=people.alice.cookie, origin=server.origin)
    async with Client.connect(server.ws, **who) as client:
        run = (await client.prompt(BIG.prompt))["run"]
        await client.send("ack", run=run, seq=0)
        unacknowledged = []
        try:
            while True:
                text = await asyncio.wait_for(client.socket.recv(), 10)
                assert isinstance(text, str)
                if f'"run":"{run}"' in text:
                    unacknowledged.append(len(text.encode()))
        except ConnectionClosed:
            assert client.socket.close_code == 4408
    assert sum(unacknowledged) > WINDOW
    assert sum(unacknowledged[:-1]) <= WINDOW

    view = RunView(run)
    async with Client.connect(server.ws, **who) as client:
        await client.follow(view)
        while view.ended is None:
            frame = await client.read()
            if frame.get("run") == run:
                await client.send("ack", run=run, seq=frame["seq"])
    assert view.text == BIG.text


async def test_a_client_that_acknowledges_slowly_is_served_at_its_pace(server: ServerProcess, people: People) -> None:
    who = Who(cookie=people.alice.cookie, origin=server.origin)
    async with Client.connect(server.ws, **who) as client:
        run = (await client.prompt(BIG.prompt))["run"]
        await client.send("ack", run=run, seq=0)
        view, unread = client.view(run), 0
        while view.ended is None:
            frame = await client.read()
            if frame.get("run") == run and frame["type"] != "run.accepted":
                unread += 1
                if unread % 8 == 0:
                    await asyncio.sleep(0.02)
                    await client.send("ack", run=run, seq=frame["seq"])
    assert view.text == BIG.text


async def test_other_operations_are_answered_while_a_run_waits_for_acks(server: ServerProcess, people: People) -> None:
    who = Who(cookie=people.bob.cookie, origin=server.origin)
    async with Client.connect(server.ws, **who) as client:
        run = (await client.prompt(BIG.prompt))["run"]
        await client.send("ack", run=run, seq=0)
        while client.view(run).seq < 15:
            await client.read()
        assert (await client.ask("ping"))["type"] == "pong"
        accepted = await client.prompt(Scenario(seed="beside", chunks=5).prompt)
        assert (await client.ended(accepted["run"])).text == expected_text("beside", 5)
        await client.send("ack", run=run, seq=client.view(run).seq)
        while client.view(run).ended is None:
            await client.send("ack", run=run, seq=client.view(run).seq)
            await client.read()
        assert client.view(run).text == BIG.text


async def test_an_ack_of_anything_else_is_ignored(client: Client) -> None:
    run = (await client.prompt(Scenario(seed="acks", chunks=5).prompt))["run"]
    for other, seq in (("00000000-0000-7000-8000-000000000000", 3), (run, 2**31 - 1)):
        await client.send("ack", run=other, seq=seq)
    assert (await client.ended(run)).text == expected_text("acks", 5)
    for bad in ({"run": run}, {"run": run, "seq": -1}, {"run": "x", "seq": 1}):
        error = await client.ask("ack", **bad)
        assert (error["type"], error["code"]) == ("error", "bad_frame")


@pytest.mark.parametrize("rate", [0, 400])
async def test_a_client_that_does_not_read_bothers_nobody(server: ServerProcess, people: People, rate: float) -> None:
    silent_text = Scenario(seed="silent", chunks=800, rate=rate).prompt
    async with Client.connect(server.ws) as silent, Client.connect(server.ws) as busy:
        await silent.send("prompt.send", text=silent_text)
        loop, waits = asyncio.get_running_loop(), []
        for number in range(20):
            begun = loop.time()
            await busy.ended((await busy.prompt(Scenario(seed=f"n{number}", chunks=5).prompt))["run"])
            waits.append(loop.time() - begun)
        assert sorted(waits)[10] < 0.5
