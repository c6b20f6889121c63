"""Trades of a period: what was traded in each minute, exact at any size."""

from __future__ import annotations

from itertools import pairwise

import pytest

from market.clock import MINUTE_NS, SECOND_NS
from market.events import FIRST, LAST, TRADE, Events, empty_events
from quality.market_streams import MarketStreams

BEGIN_NS = 28_000_000 * MINUTE_NS


def trades(traded: list[tuple[int, int]]) -> Events:
    """One a message; (second, quantity)."""
    events = empty_events(len(traded))
    events["kind"], events["flags"], events["px"] = TRADE, FIRST | LAST, 1
    events["event_ns"] = events["recv_ns"] = [BEGIN_NS + second * SECOND_NS for second, _ in traded]
    events["qty"] = [quantity for _, quantity in traded]
    return events


@pytest.mark.parametrize("cuts", [[], [1], [2, 3]])
@pytest.mark.parametrize("scale", [1, 1 << 60])
def test_the_volume_of_a_minute_is_exact_however_it_is_cut_and_though_a_trade_comes_late(
    scale: int, cuts: list[int]
) -> None:
    events = trades([(0, 5 * scale), (59, 7 * scale), (60, 3 * scale), (30, 2 * scale), (61, scale)])
    streams = MarketStreams(scales=(1.0, 1.0))
    for begin, end in pairwise([0, *cuts, len(events)]):
        streams.add(events[begin:end])
    assert streams.traded_volume == {BEGIN_NS: 14 * scale, BEGIN_NS + MINUTE_NS: 4 * scale}
