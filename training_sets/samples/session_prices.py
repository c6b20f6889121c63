"""Prices of sessions: closes of daily bars, with splits undone and dividends added, on the clock of their sessions.

The price of a session is its close times the shares that one share of the first bar has become, each dividend
reinvested at the close of its ex day: two of them give the total return between. Without splits and dividends it is the
close to the bit. A label is the truth of its time, so a bar that was restated counts as the table has it now.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from market.clock import DAY_NS, format_iso
from market.errors import InvalidRequest
from storage.tables.reading import Table
from training_sets.request.sessions import TradingSessions
from training_sets.samples.prices import LabelPrices, PriceSeries
from transforms.known_rows import KnownRows

BARS: Final = "daily_bars"

Float64s = npt.NDArray[np.float64]


def session_prices(bars: Table, symbol: str, sessions: TradingSessions) -> LabelPrices:
    """The prices of a symbol; NaN of a session without a bar. Raises InvalidRequest for a symbol without bars."""
    if symbol not in bars.rows:
        raise InvalidRequest(f"symbols: must have rows in {bars.mapping.table}, was {symbol}")
    newest = _newest(bars.rows[symbol])
    at = sessions.of_days(newest.event_ns)
    is_own = at >= 0
    factor = _shares(newest, symbol)
    prices = [np.full(len(sessions.closes_ns), np.nan) for _ in range(3)]
    for column, of_session in zip(("close", "high", "low"), prices, strict=True):
        held = newest.columns.get(column, newest.columns["close"])
        of_session[at[is_own]] = (held * factor)[is_own]
    series = PriceSeries("session_close", 0, DAY_NS, *prices)
    return LabelPrices("session_close", lambda _from_ns, _to_ns: series, sessions=sessions)


def _newest(rows: KnownRows) -> KnownRows:
    """The row of each event time that was known last, in order of event time."""
    order = np.lexsort((rows.known_ns, rows.event_ns))
    is_last = np.append(np.diff(rows.event_ns[order]) > 0, True)
    kept = order[is_last]
    return KnownRows(
        rows.event_ns[kept], rows.known_ns[kept], {name: each[kept] for name, each in rows.columns.items()}
    )


def _shares(rows: KnownRows, symbol: str) -> Float64s:
    """What one share of the first bar has become by each, (n,)."""
    ones, zeros = np.ones(len(rows.event_ns)), np.zeros(len(rows.event_ns))
    ratio, dividend = rows.columns.get("split_ratio", ones), rows.columns.get("dividend", zeros)
    is_event = (ratio != 1.0) | (dividend != 0.0)
    growth = np.ones(len(rows.event_ns))
    growth[is_event] = (ratio * (1.0 + dividend / rows.columns["close"]))[is_event]
    unknown = np.flatnonzero(np.isnan(growth))
    if len(unknown) > 0:
        raise InvalidRequest(
            f"{BARS}: must have close, split ratio and dividend on the day of a split or dividend, was without: "
            f"{symbol} at {format_iso(int(rows.event_ns[unknown[0]]))}"
        )
    return np.asarray(np.cumprod(growth), np.float64)
