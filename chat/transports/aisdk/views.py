"""The calls of `useChat`: what is decided for each before the answer streams."""

import asyncio
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from chat.models import Run
from chat.protocol.errors import ChatError
from chat.runs import client_turn
from chat.runs.client_turn import ClientTurn
from chat.runs.owner import Owner, not_found
from chat.runs.start import Accepted
from chat.transports.access import Visitor
from chat.transports.aisdk.body import KEY, Body, check_chat_id, turn_of
from chat.transports.aisdk.choice import Choice, choose, shape
from chat.transports.aisdk.grace import Grace, grace_of
from chat.transports.aisdk.reply import Answer, refusal, stream
from chat.transports.desk import Desk
from chat.transports.http import decode_body, endpoint, query_of
from chat.transports.streaming import check_room

# How long a new prompt waits for the end of the run that it takes the place of.
END_SECONDS = 5.0


@endpoint("GET", "POST", csrf="origin", refuse=refusal)
async def chat(request: HttpRequest, at: Desk, visitor: Visitor, variant: str | None = None) -> HttpResponseBase:
    """POST: a prompt with its history. GET with `chatId`: how ai 4 resumes; it takes an empty body for nothing."""
    if request.method == "GET":
        choice = choose(request, variant, Choice("data"))
        answer = await _unended(at, visitor.owner, query_of(request).get("chatId", ""))
        if answer is not None:
            return await _resumed(request, at, visitor, choice, answer)
        return HttpResponse(content_type=choice.encoder("").content_type)
    body = decode_body(request, Body)
    choice = choose(request, variant, shape(body), body)
    turn = turn_of(body)
    check_room(at, visitor)
    grace = grace_of(at.engine)
    accepted = await _start(at, grace, visitor.owner, turn)
    grace.join(accepted.run)
    try:
        answer = Answer(accepted.run, accepted.message)
        return await stream(request, at, visitor, choice, answer, queued=accepted.queued, replay=accepted.repeat)
    finally:
        grace.leave(accepted.run)


@endpoint("GET", refuse=refusal)
async def resume(
    request: HttpRequest, at: Desk, visitor: Visitor, chat: str, variant: str | None = None
) -> HttpResponseBase:
    """How ai 5 and later resume. 204 for a chat session that nobody knows as well: a fresh page asks too."""
    choice = choose(request, variant, Choice("ui"))
    answer = await _unended(at, visitor.owner, chat)
    if answer is None:
        return HttpResponse(status=204)
    return await _resumed(request, at, visitor, choice, answer)


@endpoint("POST", csrf="origin", refuse=refusal)
async def stop(
    request: HttpRequest, at: Desk, visitor: Visitor, chat: str, variant: str | None = None
) -> HttpResponseBase:
    runs = await at.engine.read(_runs_of, visitor.owner, chat)
    if runs is None:
        raise not_found("chat session")
    for run in runs:
        await at.engine.stop(visitor.owner, run)
    return HttpResponse(status=204)


# Starting -----------------------------------------------------------------------------------------------------------


async def _start(at: Desk, grace: Grace, owner: Owner, turn: ClientTurn) -> Accepted:
    """Raises ChatError."""
    engine = at.engine
    if turn.id is not None:
        earlier = await engine.read(client_turn.run_of_key, owner, turn.id)
        if earlier is not None and grace.left(earlier):
            # Its reader stopped it and asks for another answer. Whoever is still read is asked for twice by mistake.
            await _end(at, owner, earlier)
    try:
        return await _start_or_leave(at, grace, owner, turn)
    except ChatError as error:
        if error.code != "busy":
            raise
    # A client goes on behind an answer only when it reads it no more: what it calls stop() tells us nothing else.
    for run in await engine.read(client_turn.written_before, owner, turn):
        await _end(at, owner, run)
    return await _start_or_leave(at, grace, owner, turn)


async def _start_or_leave(at: Desk, grace: Grace, owner: Owner, turn: ClientTurn) -> Accepted:
    starting = asyncio.create_task(at.engine.start(owner, turn))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        # The client is gone and its run starts all the same.
        starting.add_done_callback(lambda task: _left(grace, task))
        raise


def _left(grace: Grace, task: "asyncio.Task[Accepted]") -> None:
    if not task.cancelled() and task.exception() is None:
        grace.join(task.result().run)
        grace.leave(task.result().run)


async def _end(at: Desk, owner: Owner, run: UUID) -> None:
    follower = await at.engine.follow(owner, run)
    try:
        await at.engine.stop(owner, run)
        async with asyncio.timeout(END_SECONDS):
            async for _ in follower:
                pass
    except TimeoutError:
        raise ChatError("busy", "The answer before is still being stopped. Try again in a moment.") from None
    finally:
        follower.close()


# Resuming -----------------------------------------------------------------------------------------------------------


async def _resumed(
    request: HttpRequest, at: Desk, visitor: Visitor, choice: Choice, answer: Answer
) -> HttpResponseBase:
    check_room(at, visitor)
    return await stream(request, at, visitor, choice, answer, replay=True)


async def _unended(at: Desk, owner: Owner, chat: str) -> Answer | None:
    """What is being written in this chat session; the newest, if it is more than one answer."""
    check_chat_id(chat)
    return await at.engine.read(_newest_unended, owner, chat)


def _newest_unended(owner: Owner, chat: str) -> Answer | None:
    session = client_turn.named(owner, chat)
    if session is None:
        return None
    runs = Run.objects.filter(session=session, ended=None).order_by("-created", "-id")
    found = runs.values_list("id", "message_id", "idempotency_key").first()
    return Answer(found[0], found[1], started_here=(found[2] or "").startswith(KEY)) if found else None


def _runs_of(owner: Owner, chat: str) -> list[UUID] | None:
    """Those not ended; None: there is no such chat session."""
    session = client_turn.named(owner, chat) if "\0" not in chat else None
    if session is None:
        return None
    return list(Run.objects.filter(session=session, ended=None).values_list("id", flat=True))
