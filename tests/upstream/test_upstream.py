"""The text, the choice of a scenario, the counters, and the ways to run the test upstream."""

import json
import subprocess
import sys
import time

import pytest

from tests.upstream import (
    Scenario,
    UpstreamServer,
    answer,
    expected_text,
    running_upstream,
    split_stamps,
    upstream_process,
)
from tests.upstream.process import ROOT
from tests.upstream.raw_client import PROMPT, Client, body_of, chat, text_of


def test_the_text_depends_on_the_seed_and_mixes_scripts() -> None:
    text = expected_text("a", 400)
    assert text == expected_text("a", 400) != expected_text("b", 400)
    assert {len(letter.encode()) for letter in text} == {1, 2, 3, 4}
    assert all(mark in text for mark in ("\u0301", "\u200d", "\n\n", "\u2028", "漢字", '"', "\\", "data: [DONE]"))
    assert text == text.strip()


def test_no_piece_ends_with_a_hex_digit() -> None:
    assert not [piece for piece in answer(1, 5000) if piece[-1] in "0123456789abcdef"]


def test_stamps_are_the_clock_shared_by_processes_and_found_in_merged_text(up: UpstreamServer) -> None:
    before = time.monotonic_ns()
    stamped = list(split_stamps(text_of(body_of(up, Scenario(seed=3, chunks=200, stamp=True)))))
    assert [piece for _, piece in stamped] == answer(3, 200)
    moments = [moment for moment, _ in stamped]
    assert before < moments[0] <= moments[-1] < time.monotonic_ns()
    assert moments == sorted(moments)


def test_the_schedule_is_absolute(up: UpstreamServer) -> None:
    start = time.monotonic()
    with Client(up.base_url) as client:
        client.ask(Scenario(chunks=100, rate=250, first_token_delay=0.1, stamp=True))
        client.read_head()
        moments = [moment / 1e9 - start for moment, _ in split_stamps(text_of(client.read_body()))]
    assert moments[0] >= 0.1
    late = [moment - 0.1 - index / 250 for index, moment in enumerate(moments)]
    assert min(late) >= -0.002
    # Adding up 100 sleeps that are each 1 ms late would end 100 ms late.
    assert late[-1] < late[0] + 0.05


def test_a_request_names_its_scenario_in_text_parts_or_model(up: UpstreamServer) -> None:
    wanted = expected_text(7, 2)
    spelled = 'please {"seed": 7, "chunks": 2} thanks'
    for more in (
        {"messages": [{"role": "user", "content": spelled}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": spelled}]}]},
        {"messages": [{"role": "user", "content": PROMPT}], "model": '{"seed":7,"chunks":2}'},
        {"messages": [{"role": "user", "content": spelled}, {"role": "assistant", "content": '{"seed": 8}'}]},
    ):
        assert text_of(body_of(up, Scenario(), **more)) == wanted


def test_a_misspelled_scenario_is_refused_and_other_json_is_a_prompt(up: UpstreamServer) -> None:
    with Client(up.base_url) as client:
        client.send("POST", "/v1/chat/completions", chat('{"seed": 1, "chuncks": 3}'))
        client.read_head()
        assert client.status == 400
        assert b"chuncks" in client.read_body()
        client.send("POST", "/v1/chat/completions", chat('{"a": 1} {'))
        client.read_head()
        assert text_of(client.read_body()) == expected_text(0, 20)


def test_scripted_scenarios_serve_successive_requests_then_the_default(up: UpstreamServer) -> None:
    up.script(Scenario(status=503), Scenario(seed=1, chunks=2))
    seen = []
    with Client(up.base_url) as client:
        for _ in range(3):
            client.send("POST", "/v1/chat/completions", chat(PROMPT))
            client.read_head()
            body = client.read_body()
            seen.append(client.status if client.status != 200 else text_of(body))
    assert seen == [503, expected_text(1, 2), expected_text(0, 20)]
    assert up.stats.connections == 1


def test_titles_take_no_scripted_scenario(up: UpstreamServer) -> None:
    up.script(Scenario(seed=5, chunks=1))
    with Client(up.base_url) as client:
        client.ask(Scenario(seed=42), stream=False)
        client.read_head()
        assert json.loads(client.read_body())["choices"][0]["message"]["content"] == "Title of 42"
        client.ask(Scenario(seed=42, title_status=500), stream=False)
        client.read_head()
        assert client.status == 500
        client.read_body()
        client.send("POST", "/v1/chat/completions", chat(PROMPT))
        client.read_head()
        assert text_of(client.read_body()) == expected_text(5, 1)
    assert (up.stats.titles, up.stats.opened) == (2, 1)


def test_models_and_their_context_length(up: UpstreamServer) -> None:
    with Client(up.base_url) as client:
        models = client.get("GET", "/v1/models")["data"]
    assert [(model["id"], model.get("context_length")) for model in models] == [
        ("test-model", None),
        ("test-small", 8192),
    ]


def test_the_key_is_checked_only_if_configured() -> None:
    with running_upstream(api_key="secret") as guarded, Client(guarded.base_url) as client:
        assert client.get("GET", "/v1/models")["error"]["code"] == "invalid_api_key"
        assert client.status == 401
        assert client.get("GET", "/v1/models", "authorization: Bearer secret\r\n")["data"]


def test_stats_and_reset_over_http(up: UpstreamServer) -> None:
    body_of(up, Scenario(seed=9, chunks=4))
    with Client(up.base_url) as client:
        stats = client.get("GET", "/_stats")
        assert (stats["opened"], stats["finished"], stats["chunks"], stats["tries"]) == (1, 1, 4, {"9": 1})
        assert stats["requests"][0]["messages"][0]["content"] == Scenario(seed=9, chunks=4).prompt
        client.get("POST", "/_reset")
        assert client.get("GET", "/_stats")["opened"] == 0


def test_keep_alive_serves_pipelined_requests_in_order(up: UpstreamServer) -> None:
    with Client(up.base_url) as client:
        for seed in range(3):
            client.ask(Scenario(seed=seed, chunks=5, rate=200))
        for seed in range(3):
            client.read_head()
            assert text_of(client.read_body()) == expected_text(seed, 5)
    assert up.stats.connections == 1


def test_broken_http_is_answered_and_closed(up: UpstreamServer) -> None:
    with Client(up.base_url) as client:
        client.socket.sendall(b"nonsense\r\n\r\n")
        client.read_head()
        assert client.status == 400
        client.read_body()
        assert client.reader.read() == b""


async def test_it_runs_on_the_test_s_own_loop() -> None:
    async with UpstreamServer(Scenario(stall_after=1)) as upstream:
        with Client(upstream.base_url) as client:
            client.send("POST", "/v1/chat/completions", chat(PROMPT))
            assert (await upstream.until(lambda stats: stats.opened == 1)).active == 1
        await upstream.until(lambda stats: stats.aborted == 1)
        with pytest.raises(TimeoutError):
            await upstream.until(lambda stats: stats.opened == 2, timeout=0.01)


def test_it_runs_as_a_process_that_ends_with_its_stdin() -> None:
    with upstream_process("--scenario", '{"seed":3,"chunks":2}') as base_url, Client(base_url) as client:
        client.send("POST", "/v1/chat/completions", chat(PROMPT))
        client.read_head()
        assert text_of(client.read_body()) == expected_text(3, 2)


def test_the_process_ends_on_sigterm() -> None:
    command = [sys.executable, "-m", "tests.upstream"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"http://127.0.0.1:")
        process.terminate()
        assert process.wait(5) == 0
