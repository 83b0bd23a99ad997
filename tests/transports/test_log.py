"""What must never be in the server's log, whoever asked for it and however it went wrong."""

import secrets

from tests.rawsocket import RawSocket
from tests.servers import API_KEY, ServerProcess
from tests.upstream import Scenario
from tests.visitors import PASSWORD, Visitor
from tests.wsclient import TERMINAL, Client


def failing(status: int, canary: str) -> str:
    body = {"error": {"message": f"Incorrect API key provided: {API_KEY}", "code": "invalid_api_key"}}
    return canary + Scenario(seed=canary, status=status, body=body).prompt


async def test_the_log_holds_no_prompt_key_cookie_or_password(server: ServerProcess) -> None:
    canary = f"canary{secrets.token_hex(8)}"
    user = Visitor(server.port).sign_up()
    async with Client.connect(server.ws, cookie=user.cookie, origin=server.origin) as client:
        for text in (canary, failing(401, canary), failing(400, canary), canary + Scenario(garbage_after=1).prompt):
            await client.ended((await client.prompt(text))["run"])
        assert API_KEY not in str(client.frames)
        endings = [frame["type"] for frame in client.frames if frame["type"] in TERMINAL]
        assert endings == ["run.completed", *["run.failed"] * 3]
        for bad in (f'{{"type":"{canary}"}}', f'{{"type":"prompt.send","text":["{canary}"]}}', f'{{"text":"{canary}'):
            await client.socket.send(bad)
            assert (await client.read())["type"] == "error"
        await client.ask("prompt.send", text=canary, session=canary)
        await client.ask("prompt.send", text=canary, model=canary)
    for headers in ((f"Cookie: sessionid={user.session_key}",), (f"Authorization: Bearer {canary}",)):
        with RawSocket(server.port, *headers, path=f"/ws/chat/?token={canary}") as raw:
            assert raw.status == 403
    with RawSocket(server.port, path=f"/ws/{canary}/") as raw:
        raw.ending()
    log = server.log_text()
    for secret in (canary, API_KEY, user.session_key, user.cookies["csrftoken"], PASSWORD):
        assert secret not in log
    assert "Traceback" not in log
