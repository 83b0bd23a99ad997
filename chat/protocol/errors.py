"""Every error a client can meet, in one table. docs/errors.md says the same in prose; a test holds them together."""

from enum import IntEnum

import msgspec


class ErrorCode(msgspec.Struct, frozen=True):
    code: str
    retryable: bool
    status: int  # of an HTTP answer with this error


_OF_AN_OPERATION = (
    ErrorCode("bad_json", False, 400),
    ErrorCode("bad_frame", False, 400),
    ErrorCode("too_large", False, 413),
    ErrorCode("not_found", False, 404),
    ErrorCode("forbidden", False, 403),
    ErrorCode("unauthenticated", False, 401),
    ErrorCode("conflict", False, 409),
    ErrorCode("busy", True, 409),
    ErrorCode("rate_limited", True, 429),
    ErrorCode("quota_exceeded", False, 429),
    ErrorCode("bad_offset", False, 400),
    ErrorCode("unknown_model", False, 400),
    ErrorCode("unavailable", True, 503),
    ErrorCode("internal", True, 500),
)
_OF_A_RUN = (
    ErrorCode("upstream_auth", False, 502),
    ErrorCode("upstream_rate_limited", True, 503),
    ErrorCode("upstream_bad_request", False, 502),
    ErrorCode("upstream_unavailable", True, 502),
    ErrorCode("upstream_timeout", True, 504),
    ErrorCode("upstream_cut", True, 502),
    ErrorCode("upstream_garbage", True, 502),
    ErrorCode("content_filtered", False, 422),
    ErrorCode("context_too_long", False, 422),
    ErrorCode("tool_failed", True, 502),
    ErrorCode("worker_lost", True, 503),
    ErrorCode("storage", True, 503),
)
# What Retry-After says with 503: outages are mostly restarts, which take seconds.
RETRY_AFTER_SECONDS = 2
OPERATION_ERRORS = {error.code: error for error in _OF_AN_OPERATION}
RUN_ERRORS = {error.code: error for error in _OF_A_RUN}
ERRORS = OPERATION_ERRORS | RUN_ERRORS


class ChatError(Exception):
    """An operation that was refused. `message` is safe to show and says what to do next."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        field: str | None = None,
        top: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.field = field
        self.top = top
        self.retry_after_s = retry_after_s

    @property
    def retryable(self) -> bool:
        return ERRORS[self.code].retryable


class CloseCode(IntEnum):
    RESTART = 1012
    TRY_LATER = 1013
    BAD = 4400
    SIGNED_OUT = 4401
    FORBIDDEN = 4403
    NO_ROUTE = 4404
    NO_ACK = 4408
    TOO_LARGE = 4413
    FLOOD = 4429
