"""What is sent with a request is a line of the log at debug, without secrets, and none above it."""

from __future__ import annotations

import logging

import pytest
import structlog

from api.requests import LONGEST_BODY, log_body

SCOPE = {"type": "http", "method": "POST", "path": "/dataset/build", "state": {"trace_id": "t"}}


def logged(body: bytes, *, level: int = logging.DEBUG) -> list[str]:
    """The lines, whatever the log is written to."""
    logger = logging.getLogger("api.requests")
    before = logger.level
    logger.setLevel(level)
    try:
        with structlog.testing.capture_logs() as events:
            log_body(SCOPE, bytearray(body))
    finally:
        logger.setLevel(before)
    assert all(each["log_level"] == "debug" for each in events)
    return [f"{each['event']} {each['path']} {each['body']}" for each in events]


def test_a_body_is_logged_at_debug_alone() -> None:
    body = b'{"symbol": "BTCUSDT"}'
    [line] = logged(body)
    assert "BTCUSDT" in line
    assert "/dataset/build" in line
    assert logged(body, level=logging.INFO) == []
    assert logged(b"") == []


@pytest.mark.parametrize(
    "body",
    [
        b'{"api_key": "hush-hush", "a": 1}',
        b'{"Password" : "hush-hush"}',
        b'{"deep": {"webhook_token": "a \\" hush-hush"}}',
        b'{"bybit_api_secret": "hush-hush',
        b" " * (LONGEST_BODY - 25) + b'{"api_key": "hush-hush hush-hush"}',
    ],
)
def test_what_is_named_like_a_secret_is_left_out(body: bytes) -> None:
    [line] = logged(body)
    assert "hush" not in line
    assert "***" in line
