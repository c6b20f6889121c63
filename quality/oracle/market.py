"""The oracle: feature rows of one symbol from what its messages state, in exact arithmetic and plain loops.

It follows the pages on semantics and on the catalogue, shares no code with ``transforms`` and is slow on purpose:

1. It is given what messages state, slot of 50 ms by slot, within a slot in order of arrival. A row may be asked for at
   the end of any slot.
2. What was told is kept, or its sum so far. A row picks from it what its windows cover.
3. A formula without the inputs that it needs has no value, whatever else is known.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection
from decimal import Decimal
from fractions import Fraction
from typing import Final

from market.clock import DAY_NS, HOUR_NS, MILLISECOND_NS, MINUTE_NS, SECOND_NS
from quality.oracle.arithmetic import (
    Number,
    fifty_digits,
    logarithm,
    population_std_of_decimals,
    rounded,
)
from quality.oracle.bars import MINUTES, bar_features
from quality.oracle.book import Book, Touch, book_features, slope
from quality.oracle.candles import Candle, candle_features
from quality.oracle.indicators import TECHNICAL
from quality.oracle.rows import OracleRow, Value, temporal
from quality.oracle.runs import Runs
from quality.oracle.traded import Traded

SLOT_NS: Final = 50 * MILLISECOND_NS
TRADES_ALIVE_NS: Final = 5 * MINUTE_NS
"""After this long without a trade it is unknown whether nothing was traded."""
TICKER_FIELDS: Final = ("fundingRate", "nextFundingTime", "openInterest", "markPrice", "indexPrice")
SIZES: Final[dict[str, Callable[[Candle], Fraction]]] = {
    **{f"macd_{part}": lambda candle: candle.close for part in ("line", "signal", "histogram")},
    "bb_lower": lambda candle: candle.close,
    "volume_zscore": lambda _candle: Fraction(1),
}
"""Of the terms of a difference, compared with which the difference itself may be tiny."""
SOURCES: Final = ("BOOK", "TRADES", "KLINES", "TICKERS", "POSITIONS", "BARS")
BARS: Final = {f"bars_{interval}": interval for interval in MINUTES}
"""The interval of each group of bars."""
GROUPS: Final = ("price", "orderbook", "orderflow", "perpetual", "temporal", "technical", "candles", "position", *BARS)
WINDOWS_S: Final = {"3s": 3, "15s": 15, "1m": 60, "3m": 180, "5m": 300}


class Oracle:
    """One symbol's past."""

    def __init__(self) -> None:
        self.began_ns: dict[str, int] = {}
        self.book = Book()
        # After each slot with messages, in order.
        self._mid_slots: list[int] = []
        self._mids: list[Fraction | None] = []
        self._returns: dict[int, Decimal | None] = {}
        self._logs: dict[int, Decimal | None] = {}
        self._trades = [Traded()]
        self._trade_slots: list[int] = []
        self._last_trade_ns = 0
        self._runs = {minutes: Runs(minutes, SLOT_NS) for minutes in (1, *MINUTES.values())}
        self._stated: dict[str, list[tuple[int, Fraction | None]]] = {}
        self._seen_ns: dict[str, int] = {}

    def begin(self, recv_ns: int, source: str | None = None) -> None:
        """Messages of the source before this moment may be missing; None is of every source."""
        for name in SOURCES if source is None else (source,):
            self.began_ns[name] = recv_ns
        if source in (None, "TICKERS"):
            for name in TICKER_FIELDS:
                self._stated[name] = []

    def begin_earlier(self, since_ns: int, source: str) -> None:
        """What came of the source since then was told later, whole."""
        self.began_ns[source] = min(self.began_ns[source], since_ns)

    def heard(self, source: str, recv_ns: int) -> None:
        """A message of the source came, of bars of an interval: ``BARS 5``."""
        self._seen_ns[source] = recv_ns

    def trade(self, recv_ns: int, price: Fraction, quantity: Fraction, *, buy: bool) -> None:
        self._trades.append(self._trades[-1].plus(price, quantity, buy=buy))
        self._trade_slots.append(recv_ns // SLOT_NS)
        self._last_trade_ns = recv_ns

    def candle(self, start_ns: int, candle: Candle, minutes: int = 1) -> None:
        """A candle that the exchange has confirmed; of an interval that no feature is of, nothing."""
        if minutes in self._runs:
            self._runs[minutes].add(start_ns, candle)

    def state(self, name: str, recv_ns: int, number: Fraction | None) -> None:
        """A field of the ticker or of the position, None where it was said to be unknown."""
        self._stated.setdefault(name, []).append((recv_ns, number))

    def end_slot(self, slot: int) -> None:
        """Every message of the slot was told."""
        touch = self.book.touch()
        self._mid_slots.append(slot)
        self._mids.append(touch.mid if touch is not None else None)

    def row(self, row_ns: int, groups: Collection[str] = GROUPS) -> OracleRow:
        """The row at the end of a slot, after every message before it was told; of the groups alone that are named."""
        assert row_ns % SLOT_NS == 0, "a row is at the end of a slot"
        with fifty_digits():
            return OracleRow(
                row_ns,
                dict(self.began_ns),
                self._values(row_ns, groups),
                self.book.state,
                dict(self._seen_ns),
                self._is_ticker_known(row_ns),
            )

    def _known(self, name: str, row_ns: int) -> Fraction | None:
        """A field as last stated before a row; a ticker's is forgotten after an hour, a position's after a day."""
        memory_ns = HOUR_NS if name in TICKER_FIELDS else DAY_NS
        for recv_ns, number in reversed(self._stated.get(name, [])):
            if recv_ns < row_ns:
                return number if recv_ns >= row_ns - memory_ns else None
        return None

    def _is_ticker_known(self, row_ns: int) -> bool:
        due = self._known("nextFundingTime", row_ns)
        is_to_come = due is not None and due >= row_ns
        return is_to_come and all(self._known(name, row_ns) is not None for name in TICKER_FIELDS)

    def _mid(self, time_ns: int) -> Fraction | None:
        """The mid by the messages received before the end of a slot."""
        at = bisect_left(self._mid_slots, time_ns // SLOT_NS)
        return self._mids[at - 1] if at > 0 else None

    def _values(self, row_ns: int, groups: Collection[str]) -> dict[str, Value]:
        plain: dict[str, Number | None] = {}
        sized: dict[str, Value] = {}
        touch = self.book.touch()
        if "price" in groups or "orderbook" in groups:
            plain |= self._price(row_ns)
            if touch is not None:
                bids, asks = self.book.levels()
                plain |= book_features(bids, asks)
                for name, levels in (("slope_bid", bids), ("slope_ask", asks)):
                    fitted = slope(levels)
                    if fitted is not None:
                        sized[name] = Value(*fitted)
        if "orderflow" in groups:
            plain |= self._orderflow(row_ns)
        if "perpetual" in groups:
            plain |= self._perpetual(row_ns)
        if "temporal" in groups:
            plain |= temporal(row_ns)
        if "technical" in groups or "candles" in groups:
            sized |= self._technical(row_ns)
        if "position" in groups:
            sized |= self._position(row_ns, touch)
        for group, interval in BARS.items():
            if group in groups:
                sized |= bar_features(interval, self._runs[MINUTES[interval]].last(row_ns))
        return {name: Value(number) for name, number in plain.items()} | sized

    def _price(self, row_ns: int) -> dict[str, Number | None]:
        found: dict[str, Number | None] = {}
        for seconds in (1, 3):
            first, last = self._mid(row_ns - seconds * SECOND_NS), self._mid(row_ns)
            found[f"returns_{seconds}s"] = last / first - 1 if first and last else None
        for window, seconds in (("1m", 60), ("5m", 300)):
            logs = self._changes(row_ns, seconds, self._logs)
            found[f"realized_volatility_{window}"] = sum((x * x for x in logs), Decimal(0)).sqrt() if logs else None
        returns = self._changes(row_ns, 60, self._returns)
        found["volatility_1m"] = population_std_of_decimals(returns) if returns else None
        for window, seconds in (("3s", 3), ("15s", 15), ("1m", 60)):
            steps = self.book.steps_since((row_ns - seconds * SECOND_NS) // SLOT_NS)
            found[f"ofi_{window}"] = None if steps is None else steps.imbalance
        steps = self.book.steps_since((row_ns - MINUTE_NS) // SLOT_NS)
        found["orderbook_churn_rate"] = None if steps is None else Fraction(steps.changes, 60)
        return found

    def _changes(self, row_ns: int, seconds: int, of: dict[int, Decimal | None]) -> list[Decimal] | None:
        """One-second changes of the mid over a window; None when a mid is missing."""
        found = []
        for end_ns in range(row_ns - (seconds - 1) * SECOND_NS, row_ns + 1, SECOND_NS):
            if end_ns not in of:
                of[end_ns] = self._change(end_ns, log=of is self._logs)
            change = of[end_ns]
            if change is None:
                return None
            found.append(change)
        return found

    def _change(self, end_ns: int, *, log: bool) -> Decimal | None:
        first, last = self._mid(end_ns - SECOND_NS), self._mid(end_ns)
        if first is None or last is None:
            return None
        return logarithm(last / first) if log else rounded(last / first - 1)

    def _orderflow(self, row_ns: int) -> dict[str, Number | None]:
        found: dict[str, Number | None] = {}
        last = self._traded_before(row_ns)
        for window, seconds in WINDOWS_S.items():
            inside = last.since(self._traded_before(row_ns - seconds * SECOND_NS))
            bought, sold = inside.bought, inside.sold
            found[f"vwap_{window}"] = inside.notional / (bought + sold) if inside.count else None
            found[f"volume_{window}"] = bought + sold
            found[f"signed_volume_{window}"] = bought - sold
            if seconds <= 60:
                found[f"trade_count_{window}"] = Fraction(inside.count)
            if seconds == 3:
                found["buy_sell_volume_ratio"] = bought / sold if sold else None
                found["net_aggressor_pressure"] = bought - sold
                found["net_aggressor_pressure_norm"] = (bought - sold) / (bought + sold) if inside.count else None
        if not self._trade_slots or self._last_trade_ns < row_ns - TRADES_ALIVE_NS:
            return dict.fromkeys(found)
        return found

    def _traded_before(self, time_ns: int) -> Traded:
        """By the trades received before the end of a slot."""
        return self._trades[bisect_left(self._trade_slots, time_ns // SLOT_NS)]

    def _perpetual(self, row_ns: int) -> dict[str, Number | None]:
        due = self._known("nextFundingTime", row_ns)
        minutes = None if due is None else (due - row_ns) / MINUTE_NS
        interest, interest_before = (
            self._known("openInterest", row_ns),
            self._known("openInterest", row_ns - 300 * SECOND_NS),
        )
        mark, index = self._known("markPrice", row_ns), self._known("indexPrice", row_ns)
        return {
            "funding_rate": self._known("fundingRate", row_ns),
            "time_to_funding": minutes if minutes is not None and minutes >= 0 else None,
            "open_interest": interest,
            "open_interest_change_5m": None
            if interest is None or not interest_before
            else interest / interest_before - 1,
            "mark_index_basis": None if mark is None or index is None else mark / index - 1,
        }

    def _technical(self, row_ns: int) -> dict[str, Value]:
        run = self._runs[1].last(row_ns)
        found: dict[str, Value] = {}
        for name, (count, formula) in TECHNICAL.items():
            number = formula(run[-count:]) if count <= len(run) else None
            size = SIZES[name](run[-1]) if name in SIZES and run else Fraction(0)
            found[name] = Value(number, size)
        if len(run) >= 3:
            found |= {name: Value(Fraction(holds)) for name, holds in candle_features(run[-3:]).items()}
        return found

    def _position(self, row_ns: int, touch: Touch | None) -> dict[str, Value]:
        size = self._known("size", row_ns) or Fraction(0)
        stated_entry = self._known("entry", row_ns)
        mid = touch.mid if touch is not None else None
        entry = stated_entry if size and stated_entry and stated_entry > 0 else mid
        exposure = None if size and mid is None else size * (mid or 0)
        against_entry = None
        if not size:
            against_entry = Fraction(0)
        elif mid is not None and entry is not None:
            against_entry = (mid / entry - 1) * 100
        return {
            "position_size": Value(size),
            "position_size_abs": Value(abs(size)),
            "unrealized_pnl": Value((self._known("unrealized", row_ns) if size else None) or Fraction(0)),
            "realized_pnl": Value(self._known("realized", row_ns) or Fraction(0)),
            "has_position": Value(Fraction(size != 0)),
            "entry_price": Value(entry),
            "price_vs_entry": Value(against_entry, Fraction(100)),
            "total_exposure": Value(exposure),
            "total_exposure_abs": Value(None if exposure is None else abs(exposure)),
        }
