"""Alice and Bob with accounts, Charlie and Dora as guests of the page, each made once for a server."""

from functools import cache
from typing import NamedTuple

from tests.servers import ServerProcess
from tests.stored import Stored
from tests.visitors import Visitor


class People(NamedTuple):
    alice: Visitor
    bob: Visitor
    charlie: Visitor
    dora: Visitor

    @staticmethod
    @cache
    def of(server: ServerProcess) -> "People":
        port = server.port
        alice, bob = (Visitor(port, name).sign_up() for name in ("alice", "bob"))
        return People(alice, bob, charlie=Visitor(port).visit(), dora=Visitor(port).visit())


@cache
def staff_of(server: ServerProcess) -> Visitor:
    root = Visitor(server.port).sign_up()
    Stored(server.database).change("UPDATE auth_user SET is_staff = 1, is_superuser = 1 WHERE username = ?", root.name)
    return root
