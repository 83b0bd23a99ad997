import asyncio

from websockets.exceptions import ConnectionClosed

from tests.servers import ServerProcess
from tests.upstream import Scenario
from tests.visitors import Visitor
from tests.wsclient import Client, Who


def newcomer(server: ServerProcess) -> Who:
    return Who(cookie=Visitor(server.port).sign_up().cookie, origin=server.origin)


async def test_too_many_operations_are_refused_and_the_socket_stays(strict: ServerProcess) -> None:
    async with Client.connect(strict.ws, **newcomer(strict)) as client:
        for number in range(60):
            await client.send("ping", id=f"p{number}")
        replies = [await client.read() for _ in range(60)]
        assert [reply["re"] for reply in replies] == [f"p{number}" for number in range(60)]
        refused = [reply for reply in replies if reply["type"] == "error"]
        assert 20 <= len(refused) <= 41
        assert all((reply["code"], reply["retryable"]) == ("rate_limited", True) for reply in refused)
        await asyncio.sleep(refused[-1]["retry_after_s"])
        assert (await client.ask("ping"))["type"] == "pong"


async def test_garbage_counts_as_much_as_operations(strict: ServerProcess) -> None:
    async with Client.connect(strict.ws, **newcomer(strict)) as client:
        for number in range(60):
            await client.socket.send(b"binary" if number % 2 else "{")
        codes = [(await client.read())["code"] for _ in range(60)]
        assert codes.count("rate_limited") >= 20


async def test_a_flood_is_closed_with_4429_and_nobody_else_notices(strict: ServerProcess) -> None:
    flooder, neighbour = newcomer(strict), newcomer(strict)
    async with Client.connect(strict.ws, **neighbour) as calm:
        waits, over = [], asyncio.Event()

        async def watch() -> None:
            loop = asyncio.get_running_loop()
            while not over.is_set():
                begun = loop.time()
                await calm.ask("ping")
                waits.append(loop.time() - begun)
                await asyncio.sleep(0.15)

        watching = asyncio.create_task(watch())
        before = strict.rss_bytes()
        codes = set()
        for _ in range(5):
            async with Client.connect(strict.ws, **flooder) as client:
                codes.add(await _flood(client))
        over.set()
        await watching
        assert strict.rss_bytes() - before < 50_000_000
    # daphne gives the other side a second to answer its close, then resets: a flooder may be too busy to read it.
    assert 4429 in codes
    assert codes <= ({4429, 1006} if strict.kind == "daphne" else {4429})
    assert max(waits) < 1


async def _flood(client: Client) -> int | None:
    async def send() -> None:
        try:
            for _ in range(20_000):
                await client.socket.send('{"type":"ping"}')
        except ConnectionClosed:
            return

    sending = asyncio.create_task(send())
    code = await client.closed()
    await sending
    return code


async def test_a_user_has_so_many_runs_at_a_time(strict: ServerProcess) -> None:
    who = newcomer(strict)
    async with Client.connect(strict.ws, **who) as client, Client.connect(strict.ws, **who) as other:
        runs = [(await client.prompt(Scenario(seed=n, chunks=1000, rate=20).prompt))["run"] for n in range(2)]
        error = await other.ask("prompt.send", text="one more")
        assert (error["type"], error["code"], error["retryable"]) == ("error", "rate_limited", True)
        assert error["retry_after_s"] > 0
        async with Client.connect(strict.ws, **newcomer(strict)) as stranger:
            accepted = await stranger.prompt("Hello")
            await stranger.ended(accepted["run"])
        await client.ask("run.stop", run=runs[0])
        await client.ended(runs[0])
        accepted = await other.prompt("Hello")
        await other.ended(accepted["run"])
        await client.ask("run.stop", run=runs[1])
        await client.ended(runs[1])


async def test_a_user_has_so_many_prompts_a_minute(strict: ServerProcess) -> None:
    async with Client.connect(strict.ws, **newcomer(strict)) as client:
        for number in range(5):
            accepted = await client.prompt("Hello", id=f"n{number}")
            await client.ended(accepted["run"])
        error = await client.ask("prompt.send", text="Hello")
        assert (error["type"], error["code"], error["retryable"]) == ("error", "rate_limited", True)
        repeated = await client.ask("prompt.send", text="Hello", id="n4")
        assert (repeated["type"], repeated["repeat"]) == ("run.accepted", True)
