"""Candles that came before their end are counted, whatever their interval."""

from __future__ import annotations

from market.clock import MINUTE_NS
from quality.market_streams import MarketStreams
from tests.laws.messages import MIDNIGHT_NS, kline_message, tape


def test_a_candle_confirmed_before_its_end_is_told_of_and_one_that_is_not_confirmed_is_not() -> None:
    ends = {minutes: MIDNIGHT_NS + minutes * MINUTE_NS for minutes in (1, 5, 60)}
    messages = [kline_message(ends[1] - 1, MIDNIGHT_NS, 100), kline_message(ends[1], MIDNIGHT_NS, 100)]
    messages += [kline_message(ends[5] - off, MIDNIGHT_NS, 100, minutes=5) for off in (2, 1, 0)]
    messages += [kline_message(ends[60] - 1, MIDNIGHT_NS, 100, minutes=60, is_confirmed=False)]
    market = MarketStreams(scales=(1.0, 1.0))
    market.add(tape(messages))
    assert market.early_candles == {1: 1, 5: 2}
    assert market.candles == {MIDNIGHT_NS}, "of a minute alone"
