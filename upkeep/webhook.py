"""A webhook that receives alerts, as our JSON or as the text that Slack accepts, or other documents as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import httpx

from market.errors import StoreUnavailable

TIMEOUT_S: Final = 5.0
WebhookFormat = Literal["json", "slack"]


class Webhook:
    """POSTs one notice at a time. The address may be a secret, and is in no error."""

    def __init__(
        self,
        url: str,
        *,
        name: str = "webhook",
        sends: WebhookFormat = "json",
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._name = name
        self._url = url
        self._sends = sends
        self._transport = transport

    def send(self, notice: Mapping[str, Any]) -> None:
        """Raises StoreUnavailable when it is not taken."""
        body = dict(notice) if self._sends == "json" else {"text": notice_text(notice)}
        try:
            with httpx.Client(timeout=TIMEOUT_S, transport=self._transport) as client:
                answer = client.post(self._url, json=body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise StoreUnavailable(f"{self._name}: no response: {type(error).__name__}") from error
        if not answer.is_success:
            raise StoreUnavailable(f"{self._name}: must accept the notification, responded {answer.status_code}")


def notice_text(notice: Mapping[str, Any]) -> str:
    """The notice as one line for people, and what to do."""
    if notice["state"] == "closed":
        return f"RECOVERED {notice['rule']}: {notice['subject']} has recovered (was: {notice['summary']})"
    return f"{notice['severity'].upper()} {notice['rule']}: {notice['summary']}\nWhat to do: {notice['action']}"
