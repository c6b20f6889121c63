"""What holding costs: features of the perpetual contract's ticker."""

from __future__ import annotations

import math
from typing import Any

from market.clock import MINUTE_NS
from market.events import UNKNOWN
from market.instruments import FUNDING_RATE_EXPONENT
from transforms.declaration import TICKERS, feature

NAN = math.nan
FUNDING_RATE_SCALE = 10.0**FUNDING_RATE_EXPONENT


@feature("funding_rate", reads=TICKERS, unit="1")
def funding_rate(ticker: Any) -> float:
    """Funding rate of the next settlement, as last announced.

    Formula: last known fundingRate
    NaN: not announced since the history began, or not restated within an hour.
    """
    return ticker.funding_rate / FUNDING_RATE_SCALE if ticker.funding_rate != UNKNOWN else NAN


@feature("time_to_funding", reads=TICKERS, unit="min", low=0.0)
def time_to_funding(ticker: Any, row_ns: int) -> float:
    """Minutes until the next funding settlement.

    Formula: (next funding time - b) / 1 min
    NaN: not known, as for funding_rate, or the announced time is past and the next one is not announced yet.
    """
    if ticker.next_funding_ns == UNKNOWN or ticker.next_funding_ns < row_ns:
        return NAN
    return (ticker.next_funding_ns - row_ns) / MINUTE_NS


@feature("open_interest", reads=TICKERS, unit="base", low=0.0)
def open_interest(ticker: Any, scale: Any) -> float:
    """Open interest as last announced.

    Formula: last known openInterest
    NaN: not announced since the history began, or not restated within an hour.
    """
    return ticker.open_interest / scale.qty if ticker.open_interest != UNKNOWN else NAN


@feature("open_interest_change_{window}", reads=TICKERS, windows=("5m",), unit="1", low=-1.0)
def open_interest_change(ticker: Any, open_interest_before: int) -> float:
    """Relative change of open interest over the window.

    Formula: open_interest(b) / open_interest(b - window) - 1
    NaN: unknown at either end, or 0 at the start.
    """
    if ticker.open_interest == UNKNOWN or open_interest_before == UNKNOWN or open_interest_before == 0:
        return NAN
    return (ticker.open_interest - open_interest_before) / open_interest_before


@feature("mark_index_basis", reads=TICKERS, unit="1", low=-1.0)
def mark_index_basis(ticker: Any) -> float:
    """Premium of the mark price over the index price.

    Formula: mark / index - 1
    NaN: either is not known, as for funding_rate.
    """
    if ticker.mark_px == UNKNOWN or ticker.index_px == UNKNOWN:
        return NAN
    return (ticker.mark_px - ticker.index_px) / ticker.index_px
