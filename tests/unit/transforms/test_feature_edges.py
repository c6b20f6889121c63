"""Formulas where a comparison turns: the value at the edge and one unit beside it, by hand.

Features are compiled for calls from other compiled functions alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from market.clock import MINUTE_NS
from market.events import UNKNOWN
from transforms.features.candles import candle_is_doji, pattern_tweezers_top
from transforms.features.orderbook import local_liquidity_density
from transforms.features.perpetual import time_to_funding
from transforms.features.position import entry_price
from transforms.jit import jit, python_function
from transforms.position import Position
from transforms.ticker import Ticker


class Scale(NamedTuple):
    px: float = 1.0
    qty: float = 1.0


class Side(NamedTuple):
    """Levels at ``first`` to ``end - 1``, the best last."""

    px: Any
    qty: Any
    first: int
    end: int


class Book(NamedTuple):
    bids: Side
    asks: Side


class Candles(NamedTuple):
    open: Any
    high: Any
    low: Any
    close: Any


@jit
def doji(c: Candles, i: int) -> float:
    return candle_is_doji(c, i)


@jit
def tweezers(c: Candles) -> float:
    return pattern_tweezers_top(c)


@jit
def density(book: Book, bps: int, scale: Scale) -> float:
    return local_liquidity_density(book, bps, scale)


def side(*levels: tuple[int, int]) -> Side:
    px, qty = np.array(levels, np.int64).T.copy()
    return Side(px, qty, 0, len(levels))


def candles(*rows: tuple[int, int, int, int]) -> Candles:
    """Three candles, oldest first, as (open, high, low, close)."""
    return Candles(*np.array(rows, np.int64).T.copy())


@pytest.mark.parametrize(("body", "is_doji"), [(4, 1.0), (5, 0.0), (6, 0.0)])
def test_a_doji_has_a_body_of_less_than_a_two_thousandth_of_its_range(body: int, is_doji: float) -> None:
    candle = (100_000, 105_000, 95_000, 100_000 + body)
    assert doji(candles(candle, candle, candle), 0) == is_doji


@pytest.mark.parametrize(("high", "holds"), [(99_901, 1.0), (99_900, 0.0)])
def test_tweezers_are_less_than_a_thousandth_apart(high: int, holds: float) -> None:
    first, last = (90_000, 100_000, 80_000, 91_000), (90_000, high, 80_000, 91_000)
    assert tweezers(candles(first, first, last)) == holds


@pytest.mark.parametrize(("ask", "counted"), [(100_050, 11.0), (100_051, 1.0)])
def test_a_level_exactly_at_the_distance_counts(ask: int, counted: float) -> None:
    # The mid is 100,000, so five basis points are 50; of the asks at 100,001 and beyond only the second is in question.
    book = Book(side((90_000, 4), (99_999, 0)), side((ask, 10), (100_001, 1)))
    assert density(book, 5, Scale()) == counted


@pytest.mark.parametrize(("ahead_ns", "minutes"), [(MINUTE_NS, 1.0), (0, 0.0)])
def test_funding_is_due_until_its_very_moment(ahead_ns: int, minutes: float) -> None:
    row_ns = 1_700_000_000_000_000_000
    ticker = Ticker(UNKNOWN, row_ns + ahead_ns, UNKNOWN, UNKNOWN, UNKNOWN)
    assert python_function(time_to_funding)(ticker, row_ns) == minutes
    assert np.isnan(python_function(time_to_funding)(ticker, row_ns + ahead_ns + 1))


def test_a_closed_position_has_the_mid_as_its_entry_price_though_an_entry_was_stated() -> None:
    stated = 65_000_000_000_000
    assert python_function(entry_price)(Position(1, 0, 0, stated), 200, Scale()) == 65_000.0
    assert python_function(entry_price)(Position(0, 0, 0, stated), 200, Scale()) == 100.0
    assert python_function(entry_price)(Position(UNKNOWN, 0, 0, stated), 200, Scale()) == 100.0
