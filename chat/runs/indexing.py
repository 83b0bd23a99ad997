"""On SQLite: brings the search index up to date in the background (chat/models/search_sqlite.py says why)."""

import asyncio
import logging

from django.db import DatabaseError, InterfaceError, connection

from chat.eventlog import LogWriter, Readers
from chat.models import search_sqlite
from chat.models.outage import tell

log = logging.getLogger(__name__)

TURN_SECONDS = 0.5
PAUSE_SECONDS = 0.02  # between two steps: whoever streams must not feel them


async def index_for_ever(readers: Readers, writer: LogWriter) -> None:
    if connection.vendor != "sqlite":
        return
    while True:
        await asyncio.sleep(TURN_SECONDS)
        try:
            if await readers.call(_is_behind):
                while await writer.call(_catch_up):  # noqa: ASYNC110  it is work, and no waiting
                    await asyncio.sleep(PAUSE_SECONDS)
        except (DatabaseError, InterfaceError) as error:
            tell(log, "the search index falls behind", error)
        except Exception:
            log.exception("the search index falls behind")


def _is_behind() -> bool:
    return search_sqlite.is_behind(connection)


def _catch_up() -> bool:
    return search_sqlite.catch_up(connection)
