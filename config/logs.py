import logging


class NoLineForEach503(logging.Filter):
    """For django.request: during an outage each request has one, and chat/web/unavailable.py writes a line a second."""

    def filter(self, record: logging.LogRecord) -> bool:
        return getattr(record, "status_code", None) != 503
