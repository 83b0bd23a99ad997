"""Who is let in, decided from the handshake alone."""

import pytest
from websockets.exceptions import InvalidStatus, NegotiationError

from tests.rawsocket import RawSocket
from tests.servers import ServerProcess
from tests.transports.people import People
from tests.visitors import Visitor
from tests.waiting import until
from tests.wsclient import Client, Who

# {port} is the server's own; each of these has fooled somebody's check.
FOREIGN = [
    "http://evil.example",
    "null",
    "",
    "https://127.0.0.1:{port}",
    "http://127.0.0.1:1",
    "http://127.0.0.1",
    "http://127.0.0.1:{port}.evil.example",
    "http://evil127.0.0.1:{port}",
    "http://127.0.0.1:{port}@evil.example",
    "http://user@127.0.0.1:{port}",
    "http://127.0.0.1:{port}/",
    "http://127.0.0.1:{port}, http://evil.example",
    "chrome-extension://127.0.0.1:{port}",
    "file://",
    "ws://127.0.0.1:{port}",
    "*",
]


@pytest.mark.parametrize("origin", FOREIGN)
def test_a_cookie_with_a_foreign_origin_is_refused(server: ServerProcess, people: People, origin: str) -> None:
    cookie = f"Cookie: {people.alice.cookie}"
    with RawSocket(server.port, cookie, f"Origin: {origin.format(port=server.port)}") as raw:
        assert raw.status in {400, 403}  # 400: daphne does not even take it for an origin


def test_a_cookie_without_an_origin_is_refused(server: ServerProcess, people: People) -> None:
    with RawSocket(server.port, f"Cookie: {people.alice.cookie}") as raw:
        assert raw.status == 403


def test_two_origins_are_refused(server: ServerProcess, people: People) -> None:
    own = f"Origin: {server.origin}"
    for lines in ((own, "Origin: http://evil.example"), ("Origin: http://evil.example", own), (own, own)):
        with RawSocket(server.port, f"Cookie: {people.alice.cookie}", *lines) as raw:
            assert raw.status in {400, 403}


def test_a_foreign_page_is_no_guest_either(server: ServerProcess) -> None:
    with RawSocket(server.port, "Origin: http://evil.example") as raw:
        assert raw.status == 403


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST"])
async def test_our_own_origins_are_let_in(server: ServerProcess, people: People, host: str) -> None:
    origin = f"http://{host}:{server.port}"
    async with Client.connect(server.ws, cookie=people.alice.cookie, origin=origin) as client:
        assert client.hello["user"]["name"] == "alice"


async def test_a_program_without_cookie_and_origin_is_a_guest(client: Client) -> None:
    assert client.hello["user"]["guest"] is True


async def test_a_cookie_of_nobody_is_a_guest_and_not_an_error(server: ServerProcess) -> None:
    for key in ("0" * 32, "../../etc/passwd", "é", "x" * 4000, '"'):
        with RawSocket(server.port, f"Cookie: sessionid={key}", f"Origin: {server.origin}") as raw:
            assert raw.status == 101
            assert raw.message()["user"]["guest"] is True


async def test_where_guests_are_off_a_stranger_is_closed_with_4401(strict: ServerProcess) -> None:
    with RawSocket(strict.port) as raw:
        assert raw.status == 101
        assert raw.ending() == 4401
    user = Visitor(strict.port).sign_up()
    async with Client.connect(strict.ws, cookie=user.cookie, origin=strict.origin) as client:
        assert client.hello["user"] == {"name": user.name, "guest": False}


async def test_a_token_in_the_url_is_nobody(server: ServerProcess, people: People) -> None:
    async with Client.connect(f"{server.ws}?sessionid={people.alice.session_key}&token=x") as client:
        assert client.hello["user"]["guest"] is True


def test_an_unknown_bearer_token_is_refused_and_no_guest(server: ServerProcess) -> None:
    with RawSocket(server.port, "Authorization: Bearer made-up") as raw:
        assert raw.status == 403


async def test_the_subprotocol_is_selected_when_it_is_offered(server: ServerProcess) -> None:
    for offered in (["chat.v1"], ["chat.v9", "chat.v1"], ["chat.v1", "graphql-ws"]):
        async with Client.connect(server.ws, subprotocols=offered) as client:
            assert client.socket.subprotocol == "chat.v1"
    async with Client.connect(server.ws) as client:
        assert client.socket.subprotocol is None


async def test_only_unknown_subprotocols_are_refused(server: ServerProcess) -> None:
    with pytest.raises((InvalidStatus, NegotiationError)) as refused:
        async with Client.connect(server.ws, subprotocols=["chat.v2", "graphql-ws"]):
            raise AssertionError("it was let in")
    assert isinstance(refused.value, InvalidStatus)
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("path", ["/", "/ws/", "/ws/chat", "/ws/chat/more/", "/admin/", "/ws/../ws/chat/x"])
def test_there_is_no_other_route(server: ServerProcess, path: str) -> None:
    with RawSocket(server.port, path=path) as raw:
        assert raw.status == 101
        assert raw.ending() == 4404


async def test_a_user_has_so_many_sockets_and_gets_one_back(strict: ServerProcess) -> None:
    user, other = Visitor(strict.port).sign_up(), Visitor(strict.port).sign_up()
    who = Who(cookie=user.cookie, origin=strict.origin)
    async with Client.connect(strict.ws, **who), Client.connect(strict.ws, **who):
        async with Client.connect(strict.ws, **who):
            with RawSocket(strict.port, f"Cookie: {user.cookie}", f"Origin: {strict.origin}") as raw:
                error = raw.message()
                assert (error["type"], error["code"]) == ("error", "rate_limited")
                assert raw.ending() == 4429
            async with Client.connect(strict.ws, cookie=other.cookie, origin=strict.origin) as client:
                assert (await client.ask("ping"))["type"] == "pong"
        # The server hears of the closed one on that one's own connection: a moment later.
        await until(lambda: _let_in(strict, user), 2)


def _let_in(server: ServerProcess, user: Visitor) -> bool:
    with RawSocket(server.port, f"Cookie: {user.cookie}", f"Origin: {server.origin}") as raw:
        return bool(raw.message()["type"] == "hello")
