"""The offline demo model: no key, no network, always the same answer to the same prompt.

Words of the prompt choose what it shows: "long" a long answer, "think" or "reason" reasoning before it, "fail" a
failure half-way. Everything downstream can so be tried, and tested, without a model.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

from chat.providers.base import (
    Delta,
    Finish,
    ModelInfo,
    ProviderError,
    ReasoningDelta,
    Request,
    TextDelta,
    UpstreamAccepted,
    Usage,
)

MODEL = ModelInfo(id="demo", label="Offline demo", capabilities=("text", "reasoning", "demo"))
PACE_S = 0.025  # between two pieces: about forty a second, as a quick model writes
ECHO_CHARS = 80
CHARS_PER_TOKEN = 4

# As a model's tokens: a word with the space before it, a long one in two, every other mark on its own.
PIECE = re.compile(r"\s?\w{1,8}|\s+|[^\w\s]")

HERE = Path(__file__).parent
ANSWER = (HERE / "demo_answer.md").read_text(encoding="utf-8")
ESSAY = (HERE / "demo_essay.md").read_text(encoding="utf-8")


class DemoModel:
    """A `Provider`. `pace` is the seconds between two pieces; 0 writes as fast as it is read."""

    def __init__(self, pace: float = PACE_S) -> None:
        self._pace = pace

    async def stream(self, request: Request) -> AsyncGenerator[list[Delta]]:
        prompt = _prompt(request)
        yield [UpstreamAccepted(request_id="demo")]
        written = thought = 0
        for delta in _deltas(prompt, _turn(request)):
            await asyncio.sleep(self._pace)
            written += len(delta.text)
            thought += len(delta.text) if isinstance(delta, ReasoningDelta) else 0
            yield [delta]
            if _asks(prompt, "fail") and written - thought > 200:
                message = "The offline demo failed halfway, as the prompt asked. Send a prompt without that word."
                raise ProviderError("upstream_unavailable", message, retryable=True, detail="the demo's own failure")
        yield [_usage(request, written, thought), Finish("stop")]

    async def complete(self, request: Request) -> str:
        """The first words of the first line; a heading such as "Prompt:" is none of them."""
        line = re.sub(r"^\s*\w+:\s*", "", _prompt(request)).strip().partition("\n")[0]
        return " ".join(_echo(line).split()[:6])[:60] or "Demo"

    async def models(self) -> list[ModelInfo]:
        return [MODEL]

    async def warm(self) -> None:
        """Nothing is slow to load."""

    async def close(self) -> None:
        """Nothing is open."""


def pieces(text: str) -> Iterator[str]:
    return (match[0] for match in PIECE.finditer(text))


def _deltas(prompt: str, turn: int) -> Iterator[TextDelta | ReasoningDelta]:
    if _asks(prompt, "think", "reason"):
        yield from map(ReasoningDelta, pieces(_thoughts(prompt, turn)))
    body = ESSAY if _asks(prompt, "long") else ANSWER
    yield from map(TextDelta, pieces(f"{_greeting(prompt, turn)}\n\n{body}"))


def _greeting(prompt: str, turn: int) -> str:
    return f"This is turn {turn} of our conversation. You wrote: “{_echo(prompt)}”"


def _thoughts(prompt: str, turn: int) -> str:
    words = len(prompt.split())
    return (
        f"The prompt of turn {turn} has {words} {'word' if words == 1 else 'words'} and asks me to think first. "
        "I am a demo, so there is nothing to work out; but this text comes as reasoning, before the answer, "
        "and can be shown apart from it. Now to the answer."
    )


def _echo(prompt: str) -> str:
    """One short line of it, without what Markdown would take for markup."""
    line = " ".join(re.sub(r"[`*_<>\[\]#|$\\~]", " ", prompt).split())
    return line if len(line) <= ECHO_CHARS else line[:ECHO_CHARS].rstrip() + "…"


def _asks(prompt: str, *words: str) -> bool:
    return re.search(rf"(?i)\b(?:{'|'.join(words)})\b", prompt) is not None


def _prompt(request: Request) -> str:
    return next((turn.text for turn in reversed(request.turns) if turn.role == "user"), "")


def _turn(request: Request) -> int:
    return sum(turn.role == "user" for turn in request.turns)


def _usage(request: Request, written: int, thought: int) -> Usage:
    asked = sum(len(turn.text) for turn in request.turns)
    counts = [-(-chars // CHARS_PER_TOKEN) for chars in (asked, written, thought)]
    return Usage(input_tokens=counts[0], output_tokens=counts[1], reasoning_tokens=counts[2], estimated=True)
