"""What a feature function may ask for: each parameter name with its reach back in time and its kernel expression.

| parameter       | what the function sees                                                                   |
|-----------------|------------------------------------------------------------------------------------------|
| book            | the order book at the row, two-sided: ``book.bids``, ``book.asks`` with the best level last |
| mids            | int64 (window + 1,), twice the mid at the row and each second before it, oldest first, 0 unknown |
| log_returns     | float64 (window,), ln of the mid over the mid a second before, oldest first, NaN unknown  |
| quotes          | QuoteWindow: sums over the book messages of the window                                    |
| trades          | TradeWindow: sums over the trades of the window                                           |
| candles         | Candles: the declared number of consecutive closed candles, oldest first                  |
| bars            | Candles: the declared number of consecutive ended candles of the interval, oldest first   |
| ticker          | Ticker: the merged ticker at the row                                                      |
| open_interest_before | open interest as last known at the start of the window, UNKNOWN when never seen      |
| position        | Position: what is held, as last stated                                                    |
| twice_mid       | twice the mid at the row, 0 when unknown; also for features that read positions           |
| row_ns          | the row time                                                                              |
| window_s        | the window in seconds                                                                     |
| scale           | ``scale.px`` and ``scale.qty``: 10**exponent, what mantissas are divided by               |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from market.clock import MINUTE_NS, SECOND_NS
from market.events import CANDLE, KLINE, ORDERBOOK, POSITION, TICKER, TRADE
from transforms.position import POSITION_MEMORY_NS
from transforms.ticker import MEMORY_NS


@dataclass(frozen=True, slots=True)
class Reach:
    """How far back an input can see, and how much history must be there before it may be used."""

    horizon_ns: int = 0
    warm_up_ns: int = 0

    @staticmethod
    def over(reaches: Iterable[Reach]) -> Reach:
        """The reach of a function of several inputs."""
        horizon_ns = warm_up_ns = 0
        for reach in reaches:
            horizon_ns = max(horizon_ns, reach.horizon_ns)
            warm_up_ns = max(warm_up_ns, reach.warm_up_ns)
        return Reach(horizon_ns, warm_up_ns)


@dataclass(frozen=True, slots=True)
class Input:
    """One thing a feature function may take as a parameter."""

    kind: int | None
    """Event kind it is made of; None when it needs no events."""
    reach: Callable[[int, int], Reach]
    """From the window in seconds and the number of candles."""
    expression: str
    """The kernel's argument, formatted with ``window`` (s), ``candles``."""


def _at_the_row(_window_s: int, _candles: int) -> Reach:
    return Reach()


def _window(window_s: int, _candles: int) -> Reach:
    return Reach(window_s * SECOND_NS, window_s * SECOND_NS)


def _window_from_a_book(window_s: int, _candles: int) -> Reach:
    # One second more: the book at the window's start is made by messages before it.
    reach_ns = (window_s + 1) * SECOND_NS
    return Reach(reach_ns, reach_ns)


def _candles(_window_s: int, candles: int) -> Reach:
    # One minute more than the candles themselves, for the newest to arrive; see candles.candle_horizon_ns.
    reach_ns = (candles + 1) * MINUTE_NS
    return Reach(reach_ns, reach_ns)


def _bars(interval_s: int, bars: int) -> Reach:
    # As of candles, by the interval, which is the window of such a feature.
    reach_ns = (bars + 1) * interval_s * SECOND_NS
    return Reach(reach_ns, reach_ns)


def _last_known(_window_s: int, _candles: int) -> Reach:
    # A value that was seen is known at once; it only must not be older than the ticker's memory.
    return Reach(MEMORY_NS, 0)


def _last_stated(_window_s: int, _candles: int) -> Reach:
    return Reach(POSITION_MEMORY_NS, 0)


def _last_known_before_a_window(window_s: int, _candles: int) -> Reach:
    return Reach(MEMORY_NS + window_s * SECOND_NS, (window_s + 1) * SECOND_NS)


INPUTS: Final[dict[str, Input]] = {
    "book": Input(ORDERBOOK, _at_the_row, "st.book"),
    "mids": Input(ORDERBOOK, _window_from_a_book, "last_mids(st, {window})"),
    "log_returns": Input(ORDERBOOK, _window_from_a_book, "last_log_returns(st, {window})"),
    "quotes": Input(ORDERBOOK, _window_from_a_book, "quotes_{window}"),
    "trades": Input(TRADE, _window, "trades_{window}"),
    "candles": Input(KLINE, _candles, "candles_{candles}"),
    "bars": Input(CANDLE, _bars, "bars_{candles}"),
    "ticker": Input(TICKER, _last_known, "ticker"),
    "open_interest_before": Input(
        TICKER, _last_known_before_a_window, "open_interest_before(st.tiles, row_ns, {window})"
    ),
    "position": Input(POSITION, _last_stated, "position"),
    "twice_mid": Input(ORDERBOOK, _at_the_row, "present_twice_mid(st.tiles, row_ns)"),
    "row_ns": Input(None, _at_the_row, "row_ns"),
    "window_s": Input(None, _at_the_row, "{window}"),
    "scale": Input(None, _at_the_row, "st.scale"),
}
