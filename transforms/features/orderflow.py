"""Who is aggressing: features of the trades in a window."""

from __future__ import annotations

import math
from typing import Any

from transforms.declaration import TRADES, feature

NAN = math.nan
WINDOWS = ("3s", "15s", "1m", "3m", "5m")


@feature("vwap_{window}", reads=TRADES, windows=WINDOWS, unit="quote", low=0.0)
def vwap(trades: Any, scale: Any) -> float:
    """Volume-weighted average price of the trades in the window.

    Formula: sum(px * qty) / sum(qty)
    NaN: nothing traded.
    """
    return trades.notional / trades.volume / scale.px if trades.volume > 0 else NAN


@feature("volume_{window}", reads=TRADES, windows=WINDOWS, unit="base", low=0.0)
def volume(trades: Any, scale: Any) -> float:
    """Quantity traded in the window; 0 when nothing traded.

    Formula: sum(qty)
    NaN: less history than the window, or no trade for 5 minutes.
    """
    return trades.volume / scale.qty


@feature("signed_volume_{window}", reads=TRADES, windows=WINDOWS, unit="base")
def signed_volume(trades: Any, scale: Any) -> float:
    """Quantity bought minus quantity sold by takers in the window.

    Formula: sum(qty of buys) - sum(qty of sells)
    NaN: less history than the window, or no trade for 5 minutes.
    """
    return trades.net_volume / scale.qty


@feature("buy_sell_volume_ratio", reads=TRADES, window="3s", unit="1", low=0.0)
def buy_sell_volume_ratio(trades: Any) -> float:
    """Quantity bought by takers relative to quantity sold, over 3 seconds.

    Formula: sum(qty of buys) / sum(qty of sells)
    NaN: nothing was sold.
    """
    return trades.buy_volume / trades.sell_volume if trades.sell_volume > 0 else NAN


@feature("trade_count_{window}", reads=TRADES, windows=("3s", "15s", "1m"), unit="1", low=0.0)
def trade_count(trades: Any) -> float:
    """Number of trades in the window.

    Formula: count(trades)
    NaN: less history than the window, or no trade for 5 minutes.
    """
    return float(trades.trade_count)


@feature("net_aggressor_pressure", reads=TRADES, window="3s", unit="base")
def net_aggressor_pressure(trades: Any, scale: Any) -> float:
    """Quantity bought minus quantity sold by takers over 3 seconds.

    Formula: sum(qty of buys) - sum(qty of sells)
    NaN: less history than 3 seconds, or no trade for 5 minutes.
    """
    return trades.net_volume / scale.qty


@feature("net_aggressor_pressure_norm", reads=TRADES, window="3s", unit="1", low=-1.0, high=1.0)
def net_aggressor_pressure_norm(trades: Any) -> float:
    """Net aggressor pressure relative to everything traded, over 3 seconds.

    Formula: (sum(qty of buys) - sum(qty of sells)) / sum(qty)
    NaN: nothing traded.
    """
    return trades.net_volume / trades.volume if trades.volume > 0 else NAN
