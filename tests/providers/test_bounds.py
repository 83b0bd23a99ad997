from collections.abc import AsyncGenerator

import httpx2
import pytest

from chat.providers.bounds import ERROR_BYTES, WHOLE_BYTES, bound


class Endless(httpx2.AsyncByteStream):
    def __init__(self) -> None:
        self.given = 0

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        while self.given < 100 * WHOLE_BYTES:
            self.given += 50_000
            yield b"x" * 50_000


@pytest.mark.parametrize(
    "status, encoding, most", [(400, "identity", ERROR_BYTES), (500, "gzip", ERROR_BYTES), (200, "gzip", WHOLE_BYTES)]
)
async def test_a_body_that_is_read_whole_ends_at_its_bound(status: int, encoding: str, most: int) -> None:
    endless = Endless()
    request = httpx2.Request("POST", "http://127.0.0.1/", headers={"Accept-Encoding": encoding})
    response = httpx2.Response(status, stream=endless, request=request)
    await bound(response)
    assert len(await response.aread()) == most
    assert endless.given < most + 50_000


async def test_an_answer_that_streams_is_left_alone() -> None:
    endless = Endless()
    request = httpx2.Request("POST", "http://127.0.0.1/", headers={"Accept-Encoding": "identity"})
    response = httpx2.Response(200, stream=endless, request=request)
    await bound(response)
    assert response.stream is endless
