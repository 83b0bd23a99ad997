"""Brings the search index up to date in the background: what was written is found about a second later."""

import asyncio
import logging

from django.db import DatabaseError, InterfaceError, connection

from chat.eventlog import LogWriter, Readers
from chat.models import search_index
from chat.models.outage import tell

log = logging.getLogger(__name__)

TURN_SECONDS = 0.5
PAUSE_SECONDS = 0.02  # between two steps: whoever streams must not feel them


async def index_for_ever(readers: Readers, writer: LogWriter) -> None:
    # SQLite has one writer. Elsewhere the log writer's thread has better things to do.
    call = writer.call if connection.vendor == "sqlite" else readers.call
    while True:
        await asyncio.sleep(TURN_SECONDS)
        try:
            if await readers.call(search_index.is_behind):
                while await call(search_index.catch_up):  # noqa: ASYNC110  it is work, and no waiting
                    await asyncio.sleep(PAUSE_SECONDS)
        except (DatabaseError, InterfaceError) as error:
            tell(log, "the search index falls behind", error)
        except Exception:
            log.exception("the search index falls behind")
