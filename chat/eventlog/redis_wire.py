"""A connection to Redis as redis-py makes it (URL, TLS, sign-in), used without its layers.

Each message would pass through seven of its coroutines, which took a third of a web process's CPU: one for every chunk
that somebody follows. Here a read parses all that has come, in C.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import hiredis
import redis.asyncio as redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

READ_BYTES = 256 * 1024

Command = tuple[Any, ...]  # of str and bytes


class Wire:
    def __init__(self, connection: Any) -> None:
        # Its own names for the asyncio streams; there are no public ones.
        self._reader, self._writer = connection._reader, connection._writer
        self._parser = hiredis.Reader()

    def write(self, *commands: Command) -> None:
        self._writer.write(b"".join([hiredis.pack_command(command) for command in commands]))

    async def drain(self) -> None:
        await self._writer.drain()

    async def replies(self) -> list[Any]:
        """What has come, once something has. Raises RedisError: it was an error, or the connection is gone."""
        found: list[Any] = []
        while not found:
            data = await self._reader.read(READ_BYTES)
            if not data:
                raise RedisConnectionError("the connection was closed")
            self._parser.feed(data)
            while (reply := self._parser.gets()) is not False:
                if isinstance(reply, hiredis.ReplyError):
                    raise ResponseError(str(reply))
                found.append(reply)
        return found


@asynccontextmanager
async def wire(url: str, timeout: float) -> AsyncIterator[Wire]:
    """Raises RedisError or OSError. `timeout`: seconds to connect and sign in, nothing else is limited."""
    client = redis.Redis.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout, protocol=2)
    async with client:  # closes the connection as well
        pool: Any = client.connection_pool
        yield Wire(await pool.get_connection())
