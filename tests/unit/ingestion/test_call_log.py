"""A call to another service is a line of the log at debug, with its bodies and without its key."""

from __future__ import annotations

import asyncio
import logging

import httpx
import pytest

from ingestion.call_log import LONGEST_BODY, log_call


def call(level: int, caplog: pytest.LogCaptureFixture) -> list[str]:
    async def ask() -> None:
        transport = httpx.MockTransport(lambda _request: httpx.Response(201, text="a" * 9_000))
        async with httpx.AsyncClient(
            transport=transport, headers={"X-API-Key": "secret"}, event_hooks={"response": [log_call]}
        ) as client:
            await client.post("http://gateway/api/v1/subscriptions?token=secret", json={"symbol": "BTCUSDT"})

    with caplog.at_level(level, logger="ingestion.call_log"):
        asyncio.run(ask())
    return [each.getMessage() for each in caplog.records if each.name == "ingestion.call_log"]


def test_it_has_both_bodies_and_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    [told] = call(logging.DEBUG, caplog)
    assert told.startswith('POST gateway/api/v1/subscriptions sent {"symbol":"BTCUSDT"}, response 201 aaa')
    assert len(told) < LONGEST_BODY + 100
    assert "secret" not in told


def test_it_is_left_out_above_debug(caplog: pytest.LogCaptureFixture) -> None:
    assert call(logging.INFO, caplog) == []
