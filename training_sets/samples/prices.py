"""The prices that labels are made of: the mid of each row, the close of each one-minute kline, or of each session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from market.clock import DAY_NS, MINUTE_NS, SECOND_NS, ceil_to
from market.errors import NotFound
from storage.features.known_values import may_know
from storage.features.log import FeatureLog
from training_sets.request.request import PriceChoice
from training_sets.request.sessions import TradingSessions
from training_sets.samples.kline_days import KlineHistory
from transforms.catalogue import feature_set
from transforms.rows import FeatureSet

Float64s = npt.NDArray[np.float64]
PriceName = Literal["mid_price", "kline_close", "session_close"]

STEP_NS: Final[dict[PriceName, int]] = {"mid_price": SECOND_NS, "kline_close": MINUTE_NS, "session_close": DAY_NS}
MID: Final[FeatureSet] = feature_set("labels", ["mid_price"])
LATEST_ARRIVAL_NS: Final = 5 * MINUTE_NS
"""A confirmed kline arrives up to a second after its end, a backfilled one counts as arriving one second after."""
_STRETCH_NS: Final = 2 * DAY_NS


@dataclass(frozen=True, slots=True)
class PriceSeries:
    """Prices at every step from ``start_ns`` on; between two steps the price is that of the earlier one.

    values: float64 (n,), the price at ``start_ns + i * step_ns``; NaN where it is unknown. highs, lows: float64 (n,),
    the greatest and the least price of the step that ends there; None is the price itself, if there are none.
    """

    name: PriceName
    start_ns: int
    step_ns: int
    values: Float64s
    highs: Float64s | None = None
    lows: Float64s | None = None

    def since(self, index: int) -> PriceSeries:
        """The series from one of its prices on."""
        highs, lows = (None if each is None else each[index:] for each in (self.highs, self.lows))
        return PriceSeries(
            self.name, self.start_ns + index * self.step_ns, self.step_ns, self.values[index:], highs, lows
        )

    def bars_at(self, times_ns: npt.NDArray[np.int64]) -> Float64s:
        """Price, high and low at each time, float64 (n, 3)."""
        positions = self.positions(times_ns)
        found = np.full((len(times_ns), 3), np.nan)
        for at, prices in enumerate((self.values, self.highs, self.lows)):
            known = self.values if prices is None else prices
            found[positions >= 0, at] = known[positions[positions >= 0]]
        return found

    def positions(self, times_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Index of the newest price at each time, int64 (n,); -1 before the series and a step or more after it."""
        at = (times_ns - self.start_ns) // self.step_ns
        return np.where((at >= 0) & (at < len(self.values)), at, -1)

    def at(self, times_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """The price at each time, float64 (n,); NaN where there is none."""
        if len(self.values) == 0:
            return np.full(len(times_ns), np.nan)
        positions = self.positions(times_ns)
        return np.where(positions < 0, np.nan, self.values[positions])


def price_series(
    name: PriceName,
    times_ns: npt.NDArray[np.int64],
    values: Float64s,
    *,
    step_ns: int,
    extremes: tuple[Float64s, Float64s] | None = None,
) -> PriceSeries:
    """The series of prices known at some times; of one time the last counts.

    times_ns: int64 (n,), whole multiples of the step, in any order. extremes: highs and lows, float64 (n,) each.
    """
    if len(times_ns) == 0:
        return PriceSeries(name, 0, step_ns, np.empty(0))
    start_ns = int(times_ns.min())
    at, count = (times_ns - start_ns) // step_ns, (int(times_ns.max()) - start_ns) // step_ns + 1

    def dense(known: Float64s) -> Float64s:
        prices = np.full(count, np.nan)
        prices[at] = known
        return prices

    highs, lows = (None, None) if extremes is None else map(dense, extremes)
    return PriceSeries(name, start_ns, step_ns, dense(values), highs, lows)


class LabelPrices:
    """The prices of a symbol, of one kind, read as far as they are asked for: a mid a second of months takes its room.

    read: gives the prices of [from_ns, to_ns]. early: of the klines that were confirmed before they ended, when they
    came and when they ended, int64 (n, 2); None is that there is none. sessions: whose clock the prices are on, a step
    for each; None is that they are on ours.
    """

    def __init__(
        self,
        name: PriceName,
        read: Callable[[int, int], PriceSeries],
        early: npt.NDArray[np.int64] | None = None,
        sessions: TradingSessions | None = None,
    ) -> None:
        self.name: PriceName = name
        self.step_ns = STEP_NS[name]
        self.early = np.empty((0, 2), np.int64) if early is None else early[np.argsort(early[:, 1])]
        self._sessions = sessions
        self._read = read
        self._held = PriceSeries(name, 0, self.step_ns, np.empty(0))

    def own_ns(self, times_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Times on the prices' clock, int64 (n,)."""
        return times_ns if self._sessions is None else self._sessions.steps_ns(times_ns)

    def our_ns(self, own_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Times of the prices' clock on ours, int64 (n,)."""
        return own_ns if self._sessions is None else self._sessions.closed_ns(own_ns)

    def tell_early(self, times_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Whether a row at each time may hold a price of a moment after it, bool (n,): it came before its kline ended.

        That is so where the receive clock is behind the exchange's: a label from the close before would hold what the
        row knows.
        """
        if len(self.early) == 0:
            return np.zeros(len(times_ns), np.bool_)
        came_ns = np.append(np.minimum.accumulate(self.early[::-1, 0])[::-1], np.iinfo(np.int64).max)
        is_early: npt.NDArray[np.bool_] = came_ns[np.searchsorted(self.early[:, 1], times_ns, side="right")] < times_ns
        return is_early

    def between(self, from_ns: int, to_ns: int) -> PriceSeries:
        """The prices of [from_ns, to_ns] of their clock at least; those the call before gave are not read again."""
        held, start_ns = self._held, ceil_to(from_ns, self.step_ns)
        at = (start_ns - held.start_ns) // self.step_ns
        kept = held.values[at:] if 0 <= at < len(held.values) else np.empty(0)
        known_ns = start_ns + len(kept) * self.step_ns
        if known_ns > to_ns:
            return held.since(at)
        is_joined = len(kept) > 0 and held.highs is None
        values = np.concatenate([kept, self._read(known_ns, to_ns).values]) if is_joined else None
        self._held = (
            self._read(start_ns, to_ns) if values is None else PriceSeries(self.name, start_ns, self.step_ns, values)
        )
        return self._held


def open_prices(
    log: FeatureLog, history: KlineHistory, symbol: str, choice: PriceChoice, *, from_ns: int, to_ns: int
) -> LabelPrices:
    """The prices of a symbol, of the kind that is asked for or known in [from_ns, to_ns]; the mid when neither is."""

    def read_mids(first_ns: int, last_ns: int) -> PriceSeries:
        return _read_mids(log, symbol, from_ns=first_ns, to_ns=last_ns)

    mids = LabelPrices("mid_price", read_mids)
    if choice == "mid_price" or (choice == "auto" and _has_mid(log, symbol, read_mids, (from_ns, to_ns))):
        return mids
    # A price a minute: months of them are less than a piece of samples.
    closes, early = _read_closes(history, symbol, from_ns=from_ns, to_ns=to_ns)
    if choice == "auto" and len(closes.values) == 0:
        return mids
    return LabelPrices("kline_close", lambda _from_ns, _to_ns: closes, early)


def _has_mid(
    log: FeatureLog, symbol: str, read_mids: Callable[[int, int], PriceSeries], period: tuple[int, int]
) -> bool:
    from_ns, to_ns = period
    [group] = MID.groups
    return any(
        may_know(log, symbol, group, from_ns=begin_ns, to_ns=end_ns + 1)
        and not np.isnan(read_mids(begin_ns, end_ns).values).all()
        for begin_ns in range(from_ns, to_ns + 1, _STRETCH_NS)
        for end_ns in [min(begin_ns + _STRETCH_NS - 1, to_ns)]
    )


def _read_mids(log: FeatureLog, symbol: str, *, from_ns: int, to_ns: int) -> PriceSeries:
    """The mid of every row in [from_ns, to_ns], read in stretches: rows take five times the memory of their price."""
    start_ns = ceil_to(from_ns, SECOND_NS)
    values = np.full(max(0, (to_ns - start_ns) // SECOND_NS + 1), np.nan)
    for begin_ns in range(start_ns, to_ns + 1, _STRETCH_NS):
        end_ns = min(begin_ns + _STRETCH_NS, to_ns + 1)
        try:
            rows, _ = log.read(symbol, MID, from_ns=begin_ns, to_ns=end_ns)
        except NotFound:
            break
        values[(rows.row_ns - start_ns) // SECOND_NS] = rows.values[:, 0]
    return PriceSeries("mid_price", start_ns, SECOND_NS, values)


def _read_closes(
    history: KlineHistory, symbol: str, *, from_ns: int, to_ns: int
) -> tuple[PriceSeries, npt.NDArray[np.int64]]:
    """The close, high and low of every confirmed kline that ends in [from_ns, to_ns], and which came before they ended.

    The second are when they came and ended, int64 (n, 2).
    """
    try:
        exponent = history.raw.instrument(symbol).price_exponent
    except NotFound:
        return price_series("kline_close", np.empty(0, np.int64), np.empty(0), step_ns=MINUTE_NS), np.empty((0, 2), int)
    klines = history.confirmed(symbol, from_ns=from_ns, to_ns=to_ns + LATEST_ARRIVAL_NS)
    ends_ns = klines["start_ns"] + MINUTE_NS
    is_wanted = (ends_ns >= from_ns) & (ends_ns <= to_ns)
    klines, ends_ns = klines[is_wanted], ends_ns[is_wanted]
    came_ns = np.stack([klines["recv_ns"], ends_ns], axis=1)
    closes, highs, lows = (klines[name] / 10.0**exponent for name in ("close", "high", "low"))
    series = price_series("kline_close", ends_ns, closes, step_ns=MINUTE_NS, extremes=(highs, lows))
    return series, came_ns[came_ns[:, 0] < came_ns[:, 1]]
