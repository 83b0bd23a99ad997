"""The whole path: our provider, the SDK, aiohttp, TCP, and an upstream that misbehaves."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from chat.providers.base import ChatTurn, Finish, ModelInfo, ProviderError, Request, UpstreamAccepted
from chat.providers.openai_chat import OpenAIChat
from tests.providers.conftest import Connect, Heard, ask, hear
from tests.upstream import Scenario, UpstreamServer, closed_port


async def test_it_works(upstream: UpstreamServer, connect: Connect) -> None:
    heard = await hear(connect(), ask(Scenario(seed=1, chunks=30, reasoning=3)))
    scenario = Scenario(seed=1, chunks=30, reasoning=3)
    assert heard[0] == [UpstreamAccepted("req-1", retries=0)]
    assert heard.text == scenario.text
    assert heard.reasoning == scenario.reasoning_text
    assert heard.usage is not None
    assert heard.usage.output_tokens == 33
    assert heard.deltas[-1] == Finish("stop")
    await upstream.until(lambda stats: stats.finished == 1 and stats.aborted == 0)


@pytest.mark.parametrize(
    "shape",
    [
        {"write": "byte", "chunks": 40},
        {"write": "byte", "chunks": 10, "line_end": "\r\n", "bom": True, "comments": True},
        {"write": "burst", "burst": 64, "chunks": 500},
        {"line_end": "\r\n", "bom": True, "comments": True, "multi_line_data": True},
        {"line_end": "\r", "no_space": True},
        {"escape": True, "surrogate_halves": True},
        {"escape": True, "surrogate_halves": True, "write": "byte", "chunks": 12},
        {"null_fields": True, "duplicate": 3},
        {"gzip": True, "rate": 200},
        {"content_type": "application/json"},
        {"framing": "close"},
        {"huge_chunk": 5_000_000},
        {"refusal": True},
        {"done": False},
        {"done": False, "framing": "close", "finish": "eos", "usage": "none"},
        {"usage": "in_finish"},
        {"usage": "nonempty", "reasoning": 2, "reasoning_field": "reasoning"},
    ],
    ids=str,
)
async def test_every_shape_of_stream_gives_the_exact_text(connect: Connect, shape: dict[str, Any]) -> None:
    scenario = Scenario(seed=7, **shape)
    heard = await hear(connect(), ask(scenario))
    assert heard.text == scenario.text
    assert heard.finish == "stop"
    assert (heard.usage is None) == (scenario.usage == "none")


@pytest.mark.parametrize(
    "scenario, code",
    [
        (Scenario(status=401), "upstream_auth"),
        (Scenario(status=400), "upstream_bad_request"),
        (Scenario(status=404), "upstream_bad_request"),
        (Scenario(context_error=True), "context_too_long"),
        (Scenario(status=400, body={"error": {"code": "content_filter"}}), "content_filtered"),
        (Scenario(status=429), "upstream_rate_limited"),
        (Scenario(status=503, body="<html>down</html>"), "upstream_unavailable"),
        (Scenario(html=True), "upstream_garbage"),
        (Scenario(json_body=True), "upstream_garbage"),
        (Scenario(empty_body=True), "upstream_garbage"),
        (Scenario(garbage_after=3), "upstream_garbage"),
        (Scenario(cut_after=3), "upstream_cut"),
        (Scenario(cut_after=-1), "upstream_unavailable"),
        (Scenario(fin_after=3), "upstream_cut"),
        (Scenario(eof_after=3), "upstream_cut"),
        (Scenario(finish=None), "upstream_cut"),
        (Scenario(eof_after=3, framing="close"), "upstream_cut"),
        (Scenario(error_after=3), "upstream_unavailable"),
        (Scenario(error_after=3, error="text"), "upstream_unavailable"),
        (Scenario(error_after=3, error_style="typed"), "upstream_unavailable"),
        (Scenario(error_after=3, error_style="event", error={"code": "rate_limit_exceeded"}), "upstream_rate_limited"),
        (Scenario(chunks=0, finish="content_filter"), "content_filtered"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.prompt,
)
async def test_every_failure_has_its_code_and_keeps_the_text(connect: Connect, scenario: Scenario, code: str) -> None:
    heard = Heard()
    with pytest.raises(ProviderError) as raised:
        await hear(connect(), ask(scenario), heard)
    assert raised.value.code == code
    assert "upstream says" not in raised.value.message
    if 3 in (scenario.cut_after, scenario.fin_after, scenario.eof_after, scenario.error_after):
        assert heard.text == scenario.text != ""


async def test_a_cut_inside_the_body_keeps_a_prefix(connect: Connect) -> None:
    whole = Scenario(seed=3, chunks=20).text
    for at in range(500, 2500, 97):
        heard = Heard()
        with pytest.raises(ProviderError) as raised:
            await hear(connect(), ask(Scenario(seed=3, chunks=20, cut_after_bytes=at)), heard)
        assert raised.value.code == "upstream_cut"
        assert whole.startswith(heard.text)


async def test_a_port_where_nobody_listens_is_unavailable_and_no_timeout(connect: Connect) -> None:
    with closed_port() as base_url, pytest.raises(ProviderError) as raised:
        await hear(connect(base_url=base_url), ask("hello"))
    assert raised.value.code == "upstream_unavailable"


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:port/v1", "localhost:1/v1", "gopher://localhost/v1", "http://"])
async def test_a_base_url_that_is_none_is_unavailable(connect: Connect, base_url: str) -> None:
    for call in (hear(connect(base_url=base_url), ask("hello")), connect(base_url=base_url).models()):
        with pytest.raises(ProviderError) as raised:
            await call
        assert raised.value.code == "upstream_unavailable"


async def test_a_wrong_key_is_told_safely() -> None:
    async with UpstreamServer(api_key="right-key") as upstream:
        provider = OpenAIChat(base_url=upstream.base_url, api_key="wrong-key-123")
        with pytest.raises(ProviderError) as raised:
            await hear(provider, ask("hello"))
        await provider.close()
    assert raised.value.code == "upstream_auth"
    assert "wrong-key-123" not in raised.value.message + raised.value.detail


async def test_twenty_thousand_chunks_come_in_few_batches(connect: Connect) -> None:
    scenario = Scenario(seed=5, chunks=20_000, write="burst", burst=64)
    heard = await hear(connect(), ask(scenario))
    assert heard.text == scenario.text
    assert len(heard) < 5_000


async def test_the_request_carries_what_was_asked(upstream: UpstreamServer, connect: Connect) -> None:
    turns = [ChatTurn("system", "be brief"), ChatTurn("user", "1"), ChatTurn("assistant", "2"), ChatTurn("user", "3")]
    request = Request(model="m", turns=turns, temperature=0.0, max_output_tokens=9, user="u7")
    await hear(connect(), request)
    body = upstream.stats.requests[0]
    assert [(turn["role"], turn["content"]) for turn in body["messages"]] == [(turn.role, turn.text) for turn in turns]
    assert (body["model"], body["temperature"], body["max_tokens"], body["user"]) == ("m", 0.0, 9, "u7")
    assert body["stream_options"] == {"include_usage": True}


async def test_what_was_not_asked_is_not_sent(upstream: UpstreamServer, connect: Connect) -> None:
    await hear(connect(), ask("hello"))
    assert set(upstream.stats.requests[0]) == {"messages", "model", "stream", "stream_options"}


def test_openai_itself_is_asked_in_its_newer_words() -> None:
    fields = OpenAIChat(api_key="k")._fields(ask("hello", max_output_tokens=9, user="u7"))
    assert (fields["max_completion_tokens"], fields["safety_identifier"]) == (9, "u7")


async def test_a_server_that_knows_no_stream_options_is_asked_without_them(
    upstream: UpstreamServer, connect: Connect
) -> None:
    upstream.script(Scenario(status=422, body={"detail": "unknown field stream_options"}))
    provider = connect()
    assert (await hear(provider, ask("hello"))).finish == "stop"
    await hear(provider, ask("again"))
    assert ["stream_options" in body for body in upstream.stats.requests] == [True, False, False]


async def test_fifty_streams_at_once_on_reused_connections(upstream: UpstreamServer, connect: Connect) -> None:
    provider = connect()
    scenarios = [Scenario(seed=seed, chunks=20, rate=200) for seed in range(50)]
    for _ in range(2):
        answers = await asyncio.gather(*(hear(provider, ask(scenario)) for scenario in scenarios))
        assert [heard.text for heard in answers] == [scenario.text for scenario in scenarios]
    assert upstream.stats.opened == 100
    assert upstream.stats.connections == 50


async def test_a_connection_is_reused_though_the_body_ends_after_done(connect: Connect) -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        body = b'data: {"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
        while head := await reader.readuntil(b"\r\n\r\n"):
            await reader.readexactly(int(head.lower().split(b"content-length:")[1].split()[0]))
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(body), body))
            await asyncio.sleep(0.03)
            writer.write(b"0\r\n\r\n")

    async def serve_until_it_leaves(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await serve(reader, writer)
        writer.close()

    async with await asyncio.start_server(serve_until_it_leaves, "127.0.0.1", 0) as server:
        provider = connect(base_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
        for _ in range(3):
            assert (await hear(provider, ask("hello"))).finish == "stop"
        await provider.close()
    assert connections == 1


async def test_a_title_comes_in_one_piece(upstream: UpstreamServer, connect: Connect) -> None:
    assert await connect().complete(ask(Scenario(seed=4))) != ""
    assert upstream.stats.titles == 1
    assert upstream.stats.requests[0]["max_tokens"] == 200


async def test_a_title_fails_with_a_code(connect: Connect) -> None:
    with pytest.raises(ProviderError) as raised:
        await connect().complete(ask(Scenario(title_status=500)))
    assert raised.value.code == "upstream_unavailable"


async def test_models_are_listed_with_their_windows() -> None:
    models = {"chatty": None, "small": 8192, "text-embedding-3": None}
    async with UpstreamServer(models=models) as upstream:
        provider = OpenAIChat(base_url=upstream.base_url, context_tokens=77)
        listed = await provider.models()
        await provider.close()
    assert listed == [
        ModelInfo(id="chatty", label="chatty", context_tokens=77),
        ModelInfo(id="small", label="small", context_tokens=8192),
    ]


async def test_one_provider_serves_a_second_event_loop(connect: Connect) -> None:
    provider = connect()
    request = ask(Scenario(seed=2))

    async def elsewhere() -> Heard:
        heard = await hear(provider, request)
        await provider.close()
        return heard

    here = await hear(provider, request)
    there = await asyncio.to_thread(asyncio.run, elsewhere())
    assert here.text == there.text == (await hear(provider, request)).text
