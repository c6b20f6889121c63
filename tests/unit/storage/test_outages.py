"""An outage is told when it begins and when it is over, however often it is met."""

from __future__ import annotations

import logging

import pytest

from market.errors import StoreUnavailable
from storage.outages import Outage


def test_an_outage_is_two_lines_and_the_next_one_two_more(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage(logging.getLogger("test"), "the queue", meanwhile="nothing is sent")
    outage.end()
    for _ in range(2):
        outage.begin(StoreUnavailable("refused"))
        outage.begin(StoreUnavailable("refused again"))
        outage.end()
        outage.end()
    assert caplog.messages == ["the queue is down, nothing is sent: refused", "the queue is back"] * 2
