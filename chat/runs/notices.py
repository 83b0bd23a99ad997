"""The rare signals between processes; never chunks. A lost one costs latency: the database has what it said."""

from msgspec import Struct


class RunBegan(Struct, frozen=True, tag="run.began"):
    session: str
    run: str


class SessionNotice(Struct, frozen=True, tag="session.changed"):
    """`changes` holds the fields of a session.changed frame, for all sockets of `requester`."""

    session: str
    requester: str
    changes: dict[str, str | bool | None]


class StopRun(Struct, frozen=True, tag="run.stop"):
    run: str


class RunQueued(Struct, frozen=True, tag="run.queued"):
    """There is work for a worker that has room."""


class AccountChanged(Struct, frozen=True, tag="account.changed"):
    """Signed out, deactivated or with a new password: check the user's sockets now."""

    user: int


Notice = RunBegan | SessionNotice | StopRun | RunQueued | AccountChanged
