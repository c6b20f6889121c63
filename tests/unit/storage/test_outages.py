"""An outage is told when it begins and when it is over, however often it is met."""

from __future__ import annotations

import logging

import pytest

from market.errors import StoreUnavailable
from storage.outages import Outage


def test_an_outage_is_two_lines_and_the_next_one_two_more(caplog: pytest.LogCaptureFixture) -> None:
    now_s = 100.0
    outage = Outage(logging.getLogger("test"), "the queue", meanwhile="nothing is sent", now_s=lambda: now_s)
    outage.end()
    for count in range(2):
        outage.begin(StoreUnavailable("refused"))
        assert (outage.is_on, outage.count) == (True, count + 1)
        now_s += 12.4
        outage.begin(StoreUnavailable("refused again"))
        outage.end()
        outage.end()
    assert not outage.is_on
    assert caplog.messages == ["the queue is down, nothing is sent: refused", "the queue is back after 12 s"] * 2
