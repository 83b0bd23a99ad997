"""API tokens put into the server's database from outside, as one that was made earlier lies there."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from chat.models.ids import new_id
from chat.models.token import ApiToken
from tests.stored import Stored, key


class Token(NamedTuple):
    id: UUID
    secret: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secret}"}


def give_token(stored: Stored, username: str, scope: str = "write", expires: str | None = None) -> Token:
    user = stored.value("SELECT id FROM auth_user WHERE username = ?", username)
    token, secret = ApiToken.make(user, "of a test", scope)
    row = {
        "id": key(str(new_id())),
        "user_id": user,
        "name": token.name,
        "digest": token.digest,
        "shown": token.shown,
        "scope": scope,
        "created": str(datetime.now()),  # noqa: DTZ005  what SQLite holds has no zone
        "expires": expires,
    }
    places = ", ".join("?" * len(row))
    stored.change(f"INSERT INTO chat_apitoken ({', '.join(row)}) VALUES ({places})", *row.values())
    return Token(UUID(str(row["id"])), secret)


def revoke(stored: Stored, token: Token) -> None:
    assert stored.change("DELETE FROM chat_apitoken WHERE id = ?", key(str(token.id))) == 1


def forget_older(stored: Stored, username: str) -> None:
    """A user may have so many and no more: of one that many tests share the older ones are used no longer."""
    theirs = "FROM chat_apitoken WHERE user_id = (SELECT id FROM auth_user WHERE username = ?)"
    sql = f"DELETE {theirs} AND id NOT IN (SELECT id {theirs} ORDER BY created DESC LIMIT 20)"
    stored.change(sql, username, username)
