from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from chat.providers.failures import LIMITS, MESSAGES, of_status, redacted, retry_after


@pytest.mark.parametrize(
    "status, body, code, retryable",
    [
        (401, b"{}", "upstream_auth", False),
        (403, b'{"error":{"message":"no access"}}', "upstream_auth", False),
        (429, b'{"error":{"code":"rate_limit_exceeded"}}', "upstream_rate_limited", True),
        (429, b'{"error":{"code":"insufficient_quota"}}', "upstream_rate_limited", False),
        (402, b"{}", "upstream_rate_limited", False),
        (400, b'{"error":{"message":"bad temperature"}}', "upstream_bad_request", False),
        (404, b"not found", "upstream_bad_request", False),
        (422, b'{"detail":[{"loc":["body"]}]}', "upstream_bad_request", False),
        (301, b"", "upstream_bad_request", False),
        (400, b'{"error":{"code":"context_length_exceeded"}}', "context_too_long", False),
        (400, b'{"error":"the prompt exceeds the context window"}', "context_too_long", False),
        (413, b"", "context_too_long", False),
        (400, b'{"error":{"code":"content_filter"}}', "content_filtered", False),
        (400, b'{"error":{"code":"content_policy_violation"}}', "content_filtered", False),
        (408, b"", "upstream_unavailable", True),
        (409, b"", "upstream_unavailable", True),
        (500, b"<html>", "upstream_unavailable", True),
        (503, b'{"error":null}', "upstream_unavailable", True),
        (529, b"\xff", "upstream_unavailable", True),
        (502, b'{"error":' + b"[" * 100_000, "upstream_unavailable", True),
    ],
)
def test_every_status_has_its_code(status: int, body: bytes, code: str, retryable: bool) -> None:
    failed = of_status(status, {"x-request-id": "req-7"}, body)
    assert (failed.code, failed.retryable, failed.status, failed.request_id) == (code, retryable, status, "req-7")


def test_the_upstreams_words_are_never_in_the_message() -> None:
    failed = of_status(500, {}, b'{"error":{"message":"stack trace of /srv/secret"}}')
    assert failed.message == MESSAGES["upstream_unavailable"]
    assert "/srv/secret" in failed.detail


def test_every_message_tells_what_to_do() -> None:
    for message in [*MESSAGES.values(), *LIMITS.values()]:
        assert message.count(".") >= 2 or "has to" in message


def test_keys_are_cut_out_of_details() -> None:
    detail = redacted("key my-own-key, also sk-proj-abc*****xyz and Bearer abc.def", "my-own-key")
    assert detail == "key [key], also [key] and Bearer [key]"
    assert len(redacted("x" * 9000, "")) == 2000


def test_details_hold_nothing_that_postgres_refuses() -> None:
    assert redacted(of_status(502, {}, b"\x1f\x8b\x00gz").detail, "") == " \ufffd\ufffdgz"


def test_retry_after_is_read_in_its_three_forms() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert retry_after({"retry-after": "3"}) == 3
    assert retry_after({"retry-after-ms": "250", "retry-after": "3"}) == 0.25
    assert retry_after({"retry-after": later}) == pytest.approx(60, abs=2)


@pytest.mark.parametrize("value", ["", "soon", "nan", "inf", "-1", "9" * 400])
def test_a_retry_after_that_says_nothing_is_none(value: str) -> None:
    assert retry_after({"retry-after": value}) is None


def test_a_server_that_says_do_not_retry_is_believed() -> None:
    assert not of_status(503, {"x-should-retry": "false"}, b"").retryable


def test_details_can_forge_no_line_of_the_log_and_no_terminal_escape() -> None:
    forged = of_status(500, {}, b"boom\r\n2026-01-01 CRITICAL root: all is lost\x1b[2J\xc2\x9b31m")
    assert redacted(forged.detail, "") == "boom 2026-01-01 CRITICAL root: all is lost [2J 31m"
