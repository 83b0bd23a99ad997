"""Whole logs of runs that ended, made without an engine. Imports no test framework: other processes use it as well."""

import hashlib

from chat.models import RunEvent
from chat.protocol.events import PartDelta, RunEnded, RunStarted, Timing, UsageReport, encode_data


def written(log_id: int, words: int) -> tuple[str, list[RunEvent]]:
    """The text of an answer of so many words, and the log of its run: a start, a delta for each, an end."""
    text = "word " * words
    end = RunEnded(
        message="",
        usage=UsageReport(input_tokens=1, output_tokens=1),
        timing=Timing(first_token_ms=1, total_ms=1),
        text_length=len(text),
        text_sha256=hashlib.sha256(text.encode()).hexdigest(),
    )
    told = [
        ("run.started", encode_data(RunStarted("", "", "alpha", 1))),
        *[("text.delta", encode_data(PartDelta(0, "word ")))] * words,
        ("run.completed", encode_data(end)),
    ]
    return text, [RunEvent(run_id=log_id, seq=seq, type=type_, data=data) for seq, (type_, data) in enumerate(told, 1)]
