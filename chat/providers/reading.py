"""From the bytes of a streamed answer to batches of deltas. No I/O: fed with what each network read brought."""

from typing import Literal

from chat.providers.base import Delta, Finish, ProviderError, ReasoningDelta, TextDelta, Usage
from chat.providers.chunks import Choice, Chunk, ChunkUsage, read_chunk
from chat.providers.failures import content_filtered, cut, garbage, in_stream
from chat.providers.sse import ErrorData, EventTooLarge, SSEDecoder

HEAD_BYTES = 2000  # kept of a body that turns out to be no stream, for the log
MOST_TOKENS = 2**31 - 1  # an integer column of Postgres

Kind = type[TextDelta] | type[ReasoningDelta]


class Reading:
    """One answer. `failure` is to be raised after the batch that `feed` returned with it: that text did arrive."""

    def __init__(self) -> None:
        self._sse = SSEDecoder()
        self._head = b""
        self._events = 0
        self._halves: dict[Kind, str] = {}
        self._kind: Kind = TextDelta
        self._pieces: list[str] = []
        self._usage: ChunkUsage | None = None
        self._reason = ""
        self._has_text = False
        self.finished = False  # the model said why it stopped
        self.begun = False  # a text or reasoning delta was read: no retry from here on
        self.done = False  # [DONE] was read
        self.failure: ProviderError | None = None

    def feed(self, data: bytes) -> list[Delta]:
        if not self._events and len(self._head) < HEAD_BYTES:
            self._head += data[:HEAD_BYTES]
        batch: list[Delta] = []
        try:
            payloads = self._sse.feed(data)
        except EventTooLarge:
            self.failure = garbage("an event over the size limit")
            return batch
        for payload in payloads:
            self._read(payload, batch)
            if self.done or self.failure:
                break
        self._flush(batch)
        return batch

    def end(self) -> list[Delta]:
        """The rest at the end of the body: what an unfinished last event held, and half characters."""
        batch: list[Delta] = []
        for payload in () if self.done or self.failure else self._sse.end():
            self._read(payload, batch)
            if self.failure and self.failure.code == "upstream_garbage":
                self.failure = None  # half an event: a cut, not garbage
        self._flush(batch)
        batch.extend(kind("\ufffd") for kind in self._halves)
        self._halves.clear()
        if not self.failure and (not self.finished or self._reason == "content_filter"):
            self.failure = self._broken_end()
        return batch

    def closing(self) -> list[Delta]:
        """The last batch of a good answer."""
        batch: list[Delta] = []
        if self._usage is not None and (self._usage.prompt_tokens or self._usage.completion_tokens):
            details = self._usage.completion_tokens_details
            batch.append(
                Usage(
                    input_tokens=_tokens(self._usage.prompt_tokens),
                    output_tokens=_tokens(self._usage.completion_tokens),
                    reasoning_tokens=_tokens(details.reasoning_tokens if details else 0),
                )
            )
        batch.append(Finish(_finish(self._reason)))
        return batch

    def _broken_end(self) -> ProviderError | None:
        if self._reason:  # content_filter: with text it is a normal end
            return None if self._has_text else content_filtered()
        if self._events:
            return cut("no finish_reason")
        return _no_stream(self._head)

    def _read(self, payload: bytes, batch: list[Delta]) -> None:
        if payload[:1] == b"[" and payload.strip() == b"[DONE]":
            self._events += 1
            self.done = True
            return
        try:
            chunk = read_chunk(payload)
        except ValueError:
            named = type(payload) is ErrorData
            self.failure = in_stream(payload.decode("utf-8", "replace")) if named else garbage(payload[:HEAD_BYTES])
            return
        self._events += 1
        if not chunk.choices or chunk.error or type(payload) is ErrorData:
            self._refuse(chunk, payload)
        if chunk.usage is not None:
            self._usage = chunk.usage
        for choice in chunk.choices or ():
            if not choice.index:  # n=1 is asked for; a second choice would be another answer
                self._choose(choice, batch)

    def _refuse(self, chunk: Chunk, payload: bytes) -> None:
        error = chunk.failure() or (type(payload) is ErrorData and {"message": chunk.message, "code": chunk.code})
        if error:
            self.failure = in_stream(error)

    def _choose(self, choice: Choice, batch: list[Delta]) -> None:
        delta = choice.delta
        if delta is not None:
            if reasoning := delta.reasoning_content or delta.reasoning:
                self.begun = True
                self._add(ReasoningDelta, reasoning, batch)
            if text := delta.content or delta.refusal:
                self.begun = self._has_text = True
                self._add(TextDelta, text, batch)
        if choice.finish_reason:
            self._reason = choice.finish_reason
            self.finished = True
            if self._reason == "error" and self.failure is None:
                self.failure = in_stream("finish_reason error")

    def _add(self, kind: Kind, text: str, batch: list[Delta]) -> None:
        if kind is not self._kind:
            self._flush(batch)
            self._kind = kind
        self._pieces.append(text)

    def _flush(self, batch: list[Delta]) -> None:
        if self._pieces:
            text = "".join(self._pieces)
            self._pieces = []
            if self._halves or "\x00" in text or not text.isascii():
                text = self._clean(text)
            if text:
                batch.append(self._kind(text))

    def _clean(self, text: str) -> str:
        """Text that a database takes: no NUL, no surrogates; a high half waits for its low half in the next delta."""
        if "\x00" in text:
            text = text.replace("\x00", "\ufffd")
        text = self._halves.pop(self._kind, "") + text
        try:
            text.encode()
        except UnicodeEncodeError:
            if "\ud800" <= text[-1] <= "\udbff":
                text, self._halves[self._kind] = text[:-1], text[-1]
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return text


def _tokens(count: int | None) -> int:
    """A count that a database takes: a run must not fail to end over what the upstream claims to have counted."""
    return min(max(count or 0, 0), MOST_TOKENS)


def _finish(reason: str) -> Literal["stop", "length", "content_filter"]:
    if reason in ("length", "max_tokens", "model_length"):
        return "length"
    return "content_filter" if reason == "content_filter" else "stop"


def _no_stream(head: bytes) -> ProviderError:
    """A body without a single event: an error object that came with status 200, or something else altogether."""
    try:
        error = read_chunk(head).failure()
    except ValueError:
        error = None
    return in_stream(error) if error else garbage(head or b"empty body")
