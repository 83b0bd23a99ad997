from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from ninja import Field, Router, Schema, Status

from chat.api.body import Line
from chat.api.request import ApiRequest
from chat.models import ApiToken
from chat.protocol.errors import ChatError
from chat.runs import api_tokens

router = Router(tags=["API tokens"])


class Token(Schema):
    id: UUID
    name: str
    shown: str = Field(description="The first characters of the secret, to tell it by.")
    scope: Literal["read", "write"]
    created: datetime
    expires: datetime | None
    last_used: datetime | None = Field(description="To the minute.")


class NewToken(Schema):
    name: Annotated[Line, Field(min_length=1, max_length=api_tokens.NAME_CHARS)]
    scope: Literal["read", "write"] = "write"
    expires_in_days: Annotated[int, Field(ge=1, le=api_tokens.MOST_DAYS)] | None = None


class Secret(Token):
    token: str = Field(description="The secret itself, shown this once.")


class Tokens(Schema):
    tokens: list[Token]


@router.get("", response=Tokens, summary="Those of the caller, newest first, without their secrets")
async def list_tokens(request: ApiRequest) -> dict[str, Any]:
    found = await request.desk.engine.read(api_tokens.listed, request.auth.owner)
    return {"tokens": found}


@router.post("", response={201: Secret}, summary="A new one; only for who signed in with a password")
async def create_token(request: ApiRequest, asked: NewToken) -> Status[ApiToken]:
    if request.auth.token is not None:
        # One that leaks must end with its revocation, not live on in those it made.
        raise ChatError("forbidden", "An API token makes no further ones. Sign in with your password for that.")
    token, secret = await request.desk.engine.write(
        api_tokens.create, request.auth.owner, asked.name, asked.scope, asked.expires_in_days
    )
    token.token = secret  # type: ignore[attr-defined]
    return Status(201, token)


@router.delete("/{uuid:token}", response={204: None}, summary="Revoke it: its sockets and streams are closed")
async def revoke_token(request: ApiRequest, token: UUID) -> Status[None]:
    await request.desk.engine.write(api_tokens.revoke, request.auth.owner, token)
    return Status(204, None)
