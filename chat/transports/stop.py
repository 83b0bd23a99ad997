"""POST /api/runs/{run}/stop: what `run.stop` is on the WebSocket."""

from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase

from chat.transports.access import Visitor
from chat.transports.desk import Desk
from chat.transports.http import endpoint
from chat.transports.prompting import run_id


@endpoint("POST")
async def stop(request: HttpRequest, at: Desk, visitor: Visitor, run: str) -> HttpResponseBase:
    await at.engine.stop(visitor.owner, run_id(run))
    return JsonResponse({"type": "ok"})
