"""Reads run on a few threads of their own."""

import asyncio
import threading
import time

import pytest
from django.contrib.auth.models import User

from chat.eventlog import Readers


async def test_it_works(alice_user: User) -> None:
    readers = Readers()
    assert await readers.call(User.objects.count) == 1
    await asyncio.to_thread(readers.close)


async def test_a_slow_read_does_not_hold_up_the_next() -> None:
    readers = Readers(threads=2)
    held = threading.Event()
    slow = asyncio.create_task(readers.call(held.wait, 10))
    begun = time.monotonic()
    assert await readers.call(lambda: 1) == 1
    assert time.monotonic() - begun < 5
    held.set()
    assert await slow
    await asyncio.to_thread(readers.close)


async def test_a_read_raises_what_it_raises() -> None:
    readers = Readers()
    with pytest.raises(ZeroDivisionError):
        await readers.call(lambda: 1 // 0)
    await asyncio.to_thread(readers.close)
