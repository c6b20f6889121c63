"""One-minute klines of DOGEUSDT as messages of raw data."""

from __future__ import annotations

from typing import Final

import numpy as np

from market.clock import MINUTE_NS, SECOND_NS
from market.events import CONFIRMED, KLINE, KLINE_FIELD_COUNT, Events, empty_events, mark_message
from market.instruments import pin_scale

SYMBOL: Final = "DOGEUSDT"
INSTRUMENT: Final = pin_scale(SYMBOL, "0.19701")


def kline(end_ns: int, close: str, *, seq: int, confirmed: bool = True) -> Events:
    """The kline that ended then and came a second later; all of its fields, the volume too, are the close."""
    records = empty_events(KLINE_FIELD_COUNT)
    records["recv_ns"] = end_ns + SECOND_NS
    records["event_ns"] = end_ns
    records["seq"] = seq
    records["update_id"] = end_ns - MINUTE_NS
    records["kind"] = KLINE
    records["field"] = np.arange(KLINE_FIELD_COUNT)
    records["px"] = INSTRUMENT.price(close)
    records["flags"] = CONFIRMED if confirmed else 0
    return mark_message(records)
