"""What is held: features of the position, with the market's price where it states none.

Unlike all others they have defaults, the same online and offline: without a position, or without an answer, a value is
0, and the entry price is the mid price.
"""

from __future__ import annotations

import math
from typing import Any

from market.events import UNKNOWN
from market.instruments import POSITION_EXPONENT
from transforms.declaration import POSITIONS, feature
from transforms.jit import jit

NAN = math.nan
POSITION_SCALE = 10.0**POSITION_EXPONENT


@jit
def stated(mantissa: int) -> float:
    """The value of a position field, 0 when it was not stated."""
    return mantissa / POSITION_SCALE if mantissa != UNKNOWN else 0.0


@jit
def price(twice_mid: int, scale: Any) -> float:
    """The mid price, NaN when unknown."""
    return twice_mid / (2.0 * scale.px) if twice_mid > 0 else NAN


@jit
def entry(position: Any, twice_mid: int, scale: Any) -> float:
    """The entry price of what is held, else the mid price."""
    if stated(position.size) != 0.0 and stated(position.entry_px) > 0.0:
        return stated(position.entry_px)
    return price(twice_mid, scale)


@feature("position_size", reads=POSITIONS, unit="base")
def position_size(position: Any) -> float:
    """Position size, negative when short.

    Formula: last stated size, 0 without a position
    NaN: never.
    """
    return stated(position.size)


@feature("position_size_abs", reads=POSITIONS, unit="base", low=0.0)
def position_size_abs(position: Any) -> float:
    """Position size without its sign.

    Formula: |position_size|
    NaN: never.
    """
    return abs(stated(position.size))


@feature("unrealized_pnl", reads=POSITIONS, unit="quote")
def unrealized_pnl(position: Any) -> float:
    """Profit and loss of the open position.

    Formula: last stated unrealized profit and loss, 0 while position_size is 0
    NaN: never.
    """
    # A closing update may leave it out; what it was while the position was open is of nothing now.
    return stated(position.unrealized_pnl) if stated(position.size) != 0.0 else 0.0


@feature("realized_pnl", reads=POSITIONS, unit="quote")
def realized_pnl(position: Any) -> float:
    """Profit and loss already taken; it stays when the position is closed, by which it was taken.

    Formula: last realized profit and loss stated within a day, 0 without one
    NaN: never.
    """
    return stated(position.realized_pnl)


@feature("has_position", reads=POSITIONS, unit="1", low=0.0, high=1.0)
def has_position(position: Any) -> float:
    """Whether anything is held.

    Formula: 1 if position_size is not 0, else 0
    NaN: never.
    """
    return 1.0 if stated(position.size) != 0.0 else 0.0


@feature("entry_price", reads=POSITIONS, unit="quote", low=0.0)
def entry_price(position: Any, twice_mid: int, scale: Any) -> float:
    """Average entry price of the position.

    Formula: last stated entry price; mid_price without a position
    NaN: there is no position and the mid price is unknown.
    """
    return entry(position, twice_mid, scale)


@feature("price_vs_entry", reads=POSITIONS, unit="%", low=-100.0)
def price_vs_entry(position: Any, twice_mid: int, scale: Any) -> float:
    """Distance of the mid price from the entry price, in percent.

    Formula: (mid_price / entry_price - 1) * 100; 0 without a position
    NaN: there is a position and the mid price is unknown.
    """
    if stated(position.size) == 0.0:
        return 0.0
    paid = entry(position, twice_mid, scale)
    return (price(twice_mid, scale) - paid) / paid * 100.0


@feature("total_exposure", reads=POSITIONS, unit="quote")
def total_exposure(position: Any, twice_mid: int, scale: Any) -> float:
    """Value of the position at the mid price, negative when short.

    Formula: position_size * mid_price; 0 without a position
    NaN: there is a position and the mid price is unknown.
    """
    size = stated(position.size)
    return size * price(twice_mid, scale) if size != 0.0 else 0.0


@feature("total_exposure_abs", reads=POSITIONS, unit="quote", low=0.0)
def total_exposure_abs(position: Any, twice_mid: int, scale: Any) -> float:
    """Value of the position at the mid price, without its sign.

    Formula: |total_exposure|
    NaN: there is a position and the mid price is unknown.
    """
    size = stated(position.size)
    return abs(size) * price(twice_mid, scale) if size != 0.0 else 0.0
