"""Import and export in a process of its own, on Postgres."""

import asyncio
import json
from typing import Any

from chat.models import ChatSession, Message
from chat.models.ids import new_id
from chat.runs import export, importing
from chat.runs.engine import Engine
from chat.runs.owner import Owner
from tests.fakes import ScriptedProvider
from tests.runs import chatgpt_file as chatgpt
from tests.runs import search_scenes as scenes


def there_and_back() -> dict[str, Any]:
    ChatSession.objects.all().delete()  # of other tests
    first, second = (scenes.user(f"{name} {new_id()}") for name in ("first", "second"))
    return asyncio.run(_there_and_back(first, second))


async def _there_and_back(first: Owner, second: Owner) -> dict[str, Any]:
    engine = Engine(ScriptedProvider("x"))
    await engine.open()
    try:
        nodes = [chatgpt.node(str(n), str(n - 1) if n else None, "user", f"number {n} \0") for n in range(250)]
        long = chatgpt.conversation(*nodes, id="long", conversation_id="long")
        files = chatgpt.file(long, chatgpt.EDITED, *chatgpt.MALFORMED.values(), chatgpt.WITH_TOOLS)
        reports = [await importing.import_file(engine, first, files) for _ in range(2)]
        file = b"".join([piece async for piece in export.as_json(engine, first)])
        reports += [await importing.import_file(engine, second, file) for _ in range(2)]
        both = await asyncio.gather(
            *[importing.import_file(engine, Owner(guest=new_id().hex), chatgpt.file(long)) for _ in range(2)]
        )
        count = await engine.read(lambda: (ChatSession.objects.count(), Message.objects.count()))
    finally:
        await engine.close()
    return {
        "reports": [[report.imported, report.unchanged, len(report.skipped)] for report in [*reports, *both]],
        "messages": sorted(len(session["messages"]) for session in json.loads(file)["sessions"]),
        "stored": count,
    }
