"""Everything that can go wrong with an upstream, as a ProviderError.

The message is ours and says what the reader can do. The upstream's own words go to `detail`, cut to DETAIL_CHARS and
without anything that looks like a key.

    HTTP status         401 403 upstream_auth · 402 429 upstream_rate_limited · 400 404 422 … upstream_bad_request
                        413 context_too_long · 408 409 5xx upstream_unavailable
    error code or words context_too_long, content_filtered, and the codes of CODES; else upstream_unavailable
    transport           no connection: upstream_unavailable · ended half-way: upstream_cut · no stream: upstream_garbage
    our own limits      upstream_timeout
"""

import json
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from time import time
from typing import Any

import msgspec

from chat.providers.base import ProviderError

DETAIL_CHARS = 2000
# Line ends and terminal escapes: in the log they would forge lines and colours.
CONTROL = re.compile(r"[\x01-\x1f\x7f-\x9f\u2028\u2029]+")
KEY = re.compile(r"(?i)\b(?:sk|pk|key|gsk|xai)-[\w*.\-]{4,}|(?<=bearer )\S+")

MESSAGES = {
    "upstream_auth": "The model server refused the server's key. Whoever runs this server has to check it.",
    "upstream_rate_limited": "The model server is getting too many requests. Try again in a moment.",
    "upstream_bad_request": "The model server did not accept the request. Try another model or other options.",
    "upstream_unavailable": "The model server is not available. Try again in a moment.",
    "upstream_cut": "The answer broke off before its end. Try again.",
    "upstream_garbage": "The model server sent something that is no answer. Try again, or another model.",
    "content_filtered": "The model server's content filter stopped this answer. Put the question another way.",
    "context_too_long": "The conversation is longer than this model can read. Start a new one, or shorten the prompt.",
}
NO_QUOTA = "The model server's quota is used up. Whoever runs this server has to raise it."
NOT_FOUND = "The model server does not know this model or address. Try another model."
LIMITS = {
    "connect": "The model server could not be reached in time. Try again in a moment.",
    "first_token": "The model did not start to answer in time. Try again, or a faster model.",
    "idle": "The model stopped in the middle of its answer. Try again.",
    "total": "The answer took longer than allowed and was ended. Ask for a shorter one.",
}
RETRYABLE = {"upstream_rate_limited", "upstream_unavailable", "upstream_timeout", "upstream_cut", "upstream_garbage"}

CODES = {
    "rate_limit_exceeded": "upstream_rate_limited",
    "rate_limit_error": "upstream_rate_limited",
    "too_many_requests": "upstream_rate_limited",
    "invalid_api_key": "upstream_auth",
    "authentication_error": "upstream_auth",
    "permission_error": "upstream_auth",
    "permission_denied": "upstream_auth",
    "invalid_request_error": "upstream_bad_request",
    "model_not_found": "upstream_bad_request",
    "unsupported_parameter": "upstream_bad_request",
    "unsupported_value": "upstream_bad_request",
}
QUOTA_CODES = {"insufficient_quota", "billing_hard_limit_reached", "insufficient_credits", "quota_exceeded"}
FILTER_CODES = {"content_filter", "content_policy_violation", "responsibleaipolicyviolation", "content_filtered"}
LONG_CODES = {"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"}
LONG_WORDS = re.compile(r"(?i)context.?(?:length|window|size)|prompt is too long|too many (?:input )?tokens")


def failure(code: str, detail: object = "", *, message: str = "", status: int | None = None) -> ProviderError:
    text = detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)
    return ProviderError(
        code, message or MESSAGES[code], retryable=code in RETRYABLE, status=status, detail=text[: 2 * DETAIL_CHARS]
    )


def cut(detail: object) -> ProviderError:
    return failure("upstream_cut", detail)


def garbage(detail: object) -> ProviderError:
    return failure("upstream_garbage", detail)


def content_filtered() -> ProviderError:
    return failure("content_filtered", "finish_reason content_filter without any text")


def timed_out(limit: str) -> ProviderError:
    return failure("upstream_timeout", f"the {limit} limit of this server", message=LIMITS[limit])


def no_connection(error: BaseException) -> ProviderError:
    """Over aiohttp a refused connection is a ConnectTimeout to the SDK; a real one has a TimeoutError as a cause."""
    chain = [error]
    while cause := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(cause)
    if any(isinstance(link, TimeoutError) for link in chain):
        return timed_out("connect")
    return failure("upstream_unavailable", " < ".join(f"{type(link).__name__}: {link}" for link in chain))


def in_stream(error: Any) -> ProviderError:
    """An error object that came inside a stream, or with status 200."""
    return _classify(error, None)


def of_status(status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """An HTTP status that is no success."""
    try:
        found = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        found = None
    error = found.get("error", found) if isinstance(found, dict) else None
    failed = _classify(error or body.decode("utf-8", "replace"), status)
    failed.detail = body.decode("utf-8", "replace")
    failed.request_id = request_id_of(headers)
    failed.retry_after = retry_after(headers)
    if headers.get("x-should-retry") == "false":
        failed.retryable = False
    return failed


def _classify(error: Any, status: int | None) -> ProviderError:
    fields = error if isinstance(error, dict) else {"message": error}
    names = [str(fields.get(name) or "").lower() for name in ("code", "type")]
    words = str(fields.get("message") or "")
    if status is None:
        status = next((int(name) for name in names if re.fullmatch("[45][0-9]{2}", name)), None)
    # Not msgspec, which refuses half an emoji and numbers beyond 64 bits; the database refuses the former as well.
    detail = json.dumps(error, ensure_ascii=False).encode(errors="replace").decode()
    refused = status in (400, 403, 413, 422, None)
    if refused and FILTER_CODES.intersection(names):
        return failure("content_filtered", detail, status=status)
    if status != 403 and refused and (LONG_CODES.intersection(names) or LONG_WORDS.search(words)):
        return failure("context_too_long", detail, status=status)
    if status == 402 or QUOTA_CODES.intersection(names):
        failed = failure("upstream_rate_limited", detail, message=NO_QUOTA, status=status)
        failed.retryable = False
        return failed
    if status is not None:
        return failure(_by_status(status), detail, message=NOT_FOUND if status == 404 else "", status=status)
    return failure(next((CODES[name] for name in names if name in CODES), "upstream_unavailable"), detail)


def _by_status(status: int) -> str:
    if status in (401, 403):
        return "upstream_auth"
    if status == 429:
        return "upstream_rate_limited"
    if status == 413:
        return "context_too_long"
    return "upstream_unavailable" if status in (408, 409) or status >= 500 else "upstream_bad_request"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds; from `retry-after-ms`, or `retry-after` as seconds or as an HTTP date."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        if 0 <= seconds < 10**9:
            return seconds
    try:
        return max(0.0, parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - time())
    except (ValueError, TypeError, OverflowError):
        return None


def request_id_of(headers: Mapping[str, str]) -> str:
    """The upstream's x-request-id, which goes to clients and into the log: printable ASCII without spaces."""
    return re.sub(r"[^!-~]", "", headers.get("x-request-id", ""))[:200]


def redacted(detail: str, api_key: str) -> str:
    """Fit to be stored: without keys, short, and without NUL, which Postgres refuses in text."""
    detail = detail.replace("\0", "\ufffd")
    if len(api_key) >= 4:
        detail = detail.replace(api_key, "[key]")
    return CONTROL.sub(" ", KEY.sub("[key]", detail))[:DETAIL_CHARS]
