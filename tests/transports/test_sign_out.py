"""A socket is closed with 4401 when the sign-in that opened it ends, and only then."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from typing import NamedTuple

import pytest

from tests.servers import ServerProcess
from tests.stored import Stored
from tests.visitors import PASSWORD, Visitor
from tests.wsclient import Client

SOON_S = 5


class Scene(NamedTuple):
    """One user signed in twice, with a socket of each sign-in; a neighbour and a guest beside."""

    here: Visitor
    there: Visitor
    of_here: Client
    of_there: Client
    neighbour: Client


@asynccontextmanager
async def scene(server: ServerProcess) -> AsyncIterator[Scene]:
    here = Visitor(server.port).sign_up()
    there = Visitor(server.port, here.name).sign_in()
    bob = next_door(server)
    async with AsyncExitStack() as stack:
        sockets = [
            await stack.enter_async_context(Client.connect(server.ws, cookie=who.cookie, origin=server.origin))
            for who in (here, there, bob)
        ]
        yield Scene(here, there, *sockets)


@cache
def next_door(server: ServerProcess) -> Visitor:
    return Visitor(server.port).sign_up()


async def assert_closed(*clients: Client) -> None:
    async with asyncio.timeout(SOON_S):
        assert [await client.closed() for client in clients] == [4401] * len(clients)


async def assert_open(*clients: Client) -> None:
    for client in clients:
        assert (await client.ask("ping"))["type"] == "pong"


async def test_logout_closes_the_sockets_of_that_sign_in_alone(server: ServerProcess) -> None:
    async with scene(server) as now:
        await asyncio.to_thread(now.here.sign_out)
        await assert_closed(now.of_here)
        await assert_open(now.of_there, now.neighbour)


async def test_a_new_password_closes_all_sockets_of_the_user(server: ServerProcess) -> None:
    async with scene(server) as now:
        await asyncio.to_thread(now.here.change_password, PASSWORD + "!")
        await assert_closed(now.of_here, now.of_there)
        await assert_open(now.neighbour)
        # The page that changed it has a new cookie and comes back with it.
        async with Client.connect(server.ws, cookie=now.here.cookie, origin=server.origin) as again:
            assert again.hello["user"]["name"] == now.here.name


async def test_deactivation_in_the_admin_closes_all_sockets_of_the_user(server: ServerProcess) -> None:
    stored = Stored(server.database)
    async with scene(server) as now:
        pk, joined = stored.rows("SELECT id, date_joined FROM auth_user WHERE username = ?", now.here.name)[0]
        day, _, clock = joined.partition(" ")
        form = {"username": now.here.name, "date_joined_0": day, "date_joined_1": clock[:8]}
        admin = await asyncio.to_thread(administrator, server)
        await asyncio.to_thread(lambda: admin.post(f"/admin/auth/user/{pk}/change/", **form))
        assert stored.value("SELECT is_active FROM auth_user WHERE id = ?", pk) == 0
        await assert_closed(now.of_here, now.of_there)
        await assert_open(now.neighbour)


async def test_deletion_in_the_admin_closes_all_sockets_of_the_user(server: ServerProcess) -> None:
    stored = Stored(server.database)
    async with scene(server) as now:
        pk = stored.value("SELECT id FROM auth_user WHERE username = ?", now.here.name)
        admin = await asyncio.to_thread(administrator, server)
        await asyncio.to_thread(lambda: admin.post(f"/admin/auth/user/{pk}/delete/", post="yes"))
        await assert_closed(now.of_here, now.of_there)
        await assert_open(now.neighbour)


def administrator(server: ServerProcess) -> Visitor:
    """With the password that the first start showed."""
    words = server.log_text().split()
    admin = Visitor(server.port, "admin")
    admin.post("/admin/login/", username="admin", password=words[words.index("password") + 1], next="/admin/")
    return admin


CHANGES = {
    "deactivated": "UPDATE auth_user SET is_active = 0 WHERE username = ?",
    "given a new password": "UPDATE auth_user SET password = 'pbkdf2_sha256$1$a$b' WHERE username = ?",
}


@pytest.mark.parametrize("change", CHANGES)
async def test_what_another_process_changed_is_found_by_the_timer(strict: ServerProcess, change: str) -> None:
    async with scene(strict) as now:
        assert Stored(strict.database).change(CHANGES[change], now.here.name) == 1
        await assert_closed(now.of_here, now.of_there)
        await assert_open(now.neighbour)


async def test_a_session_that_another_process_deleted_is_found_by_the_timer(strict: ServerProcess) -> None:
    async with scene(strict) as now:
        sql = "DELETE FROM django_session WHERE session_key = ?"
        assert Stored(strict.database).change(sql, now.there.session_key) == 1
        await assert_closed(now.of_there)
        await assert_open(now.of_here, now.neighbour)


async def test_signing_in_elsewhere_closes_nothing(strict: ServerProcess) -> None:
    async with scene(strict) as now:
        await asyncio.to_thread(Visitor(strict.port, now.here.name).sign_in)
        await asyncio.sleep(2.5)  # two rounds of the timer, and the second look after a notice
        await assert_open(now.of_here, now.of_there, now.neighbour)


async def test_a_signed_out_socket_performs_nothing_more(server: ServerProcess) -> None:
    async with scene(server) as now:
        run = (await now.of_here.prompt('{"seed":"out","chunks":10000,"rate":50}'))["run"]
        await asyncio.to_thread(now.here.sign_out)
        await assert_closed(now.of_here)
        await now.of_there.follow(now.of_there.view(run))
        await now.of_there.ask("run.stop", run=run)
        assert (await now.of_there.ended(run)).ended is not None


async def test_a_guest_that_signs_in_takes_its_sessions_along(strict: ServerProcess, server: ServerProcess) -> None:
    guest = Visitor(server.port).visit()
    async with Client.connect(server.ws, cookie=guest.cookie, origin=server.origin) as client:
        accepted = await client.prompt("Hello")
        await client.ended(accepted["run"])
    guest.sign_up()
    async with Client.connect(server.ws, cookie=guest.cookie, origin=server.origin) as client:
        assert client.hello["user"]["guest"] is False
        assert (await client.ask("session.open", session=accepted["session"]))["type"] == "session.state"
