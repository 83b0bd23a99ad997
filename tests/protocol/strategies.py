"""Logs of runs, as an engine could have written them."""

from hypothesis import strategies as st

from chat.protocol.events import Event, PartDelta, RunEnded, RunRestarted, RunStarted, Timing, UsageReport, encode_data

texts = st.text(min_size=1, max_size=12)


@st.composite
def logs(draw: st.DrawFn) -> list[Event]:
    """Up to three attempts, each with text and reasoning parts in any order, and perhaps an end."""
    found: list[tuple[str, str]] = []
    for attempt in range(1, draw(st.integers(1, 3)) + 1):
        if attempt == 1:
            found.append(("run.started", encode_data(RunStarted("s", "m", "alpha", 1))))
        else:
            found.append(("run.restarted", encode_data(RunRestarted(attempt, "worker_lost", []))))
        part, last = -1, ""
        for kind, text in draw(st.lists(st.tuples(st.sampled_from(["text", "reasoning"]), texts), max_size=12)):
            if kind != last:
                part, last = part + 1, kind
            found.append((f"{kind}.delta", encode_data(PartDelta(part, text))))
    if draw(st.booleans()):
        ended = RunEnded(
            message="m",
            usage=UsageReport(input_tokens=1, output_tokens=1),
            timing=Timing(first_token_ms=1, total_ms=1),
            text_length=0,
            text_sha256="",
        )
        found.append(("run.completed", encode_data(ended)))
    return [Event(seq, *each) for seq, each in enumerate(found, 1)]
