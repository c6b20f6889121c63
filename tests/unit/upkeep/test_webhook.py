"""A webhook is told in our JSON or in Slack's text, and its address is in no error."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from market.errors import StoreUnavailable
from upkeep.webhook import Webhook, WebhookFormat

URL = "https://hooks.example/secret"
NOTICE: dict[str, Any] = {
    "id": 7,
    "state": "open",
    "rule": "row_old",
    "subject": "BTCUSDT",
    "severity": "critical",
    "summary": "BTCUSDT: newest row must be at most 30 s old, was 41",
    "action": "See its log.",
}


def sent(notice: dict[str, Any], sends: WebhookFormat) -> Any:  # noqa: ANN401  # JSON
    bodies: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(request.content)
        return httpx.Response(200)

    Webhook(URL, sends=sends, transport=httpx.MockTransport(answer)).send(notice)
    (body,) = bodies
    return json.loads(body)


def test_json_is_the_notice_and_slack_gets_its_text() -> None:
    assert sent(NOTICE, "json") == NOTICE
    assert sent(NOTICE, "slack") == {
        "text": "CRITICAL row_old: BTCUSDT: newest row must be at most 30 s old, was 41\nWhat to do: See its log."
    }
    assert sent(NOTICE | {"state": "closed"}, "slack")["text"].startswith("RECOVERED row_old: BTCUSDT has recovered")


def refused(_: httpx.Request) -> httpx.Response:
    return httpx.Response(404)


def lost(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError(f"cannot reach {request.url}")


@pytest.mark.parametrize("answer", [refused, lost])
def test_a_notice_that_is_not_taken_is_an_error_without_the_address(answer: Any) -> None:  # noqa: ANN401  # a handler
    with pytest.raises(StoreUnavailable) as failed:
        Webhook(URL, transport=httpx.MockTransport(answer)).send(NOTICE)
    assert "secret" not in str(failed.value)


def test_an_address_that_is_none_is_an_error_when_it_is_used() -> None:
    with pytest.raises(StoreUnavailable):
        Webhook("no address").send(NOTICE)
