"""Reconciliation: live data against the exchange's history of the same day, value by value.

1. Trades are compared by their ids: missing is only in history, extra is only in live data, different what both
   have with another time, price, quantity or side.
2. Candles are compared with what trades make of their minute. The exchange opens a candle at the close of the one
   before: its open must be that or the first trade's price.
3. A funding rate as it was known at a settlement is compared with what was settled.
4. A check that could not be made says why, and is no agreement.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from market.clock import MINUTE_NS, format_iso
from market.events import BUY
from market.instruments import decimal_text

MOST_DISAGREEMENTS: Final = 100
"""Of a check told one by one; all are counted."""


class Trade(NamedTuple):
    """A trade in mantissas; seq: of its message on the tape, 0 in history."""

    event_ns: int
    px: int
    qty: int
    side: int
    seq: int = 0


class Candle(NamedTuple):
    """A minute in mantissas; prices are None of a minute without a trade. source: names its messages."""

    open: int | None
    high: int | None
    low: int | None
    close: int | None
    volume: int
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Decimals of prices and of quantities."""

    price: int
    quantity: int

    def px(self, mantissa: int | None) -> str | None:
        return None if mantissa is None else _plain(mantissa, self.price)

    def qty(self, mantissa: int) -> str:
        return _plain(mantissa, self.quantity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """Two values that should be one; ``live`` or ``history`` is None where that side has none."""

    check: str
    at_ns: int
    what: str
    live: str | None
    history: str | None
    messages: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "check": self.check,
            "at": format_iso(self.at_ns),
            "what": self.what,
            "live": self.live,
            "history": self.history,
            "messages": list(self.messages),
        }


@dataclass(slots=True)
class Check:
    """One kind of comparison. counts: by name. unchecked: why all or part of it could not be checked."""

    name: str
    counts: dict[str, int] = field(default_factory=dict)
    disagreements: list[Disagreement] = field(default_factory=list)
    unchecked: str | None = None
    disagreeing: int = 0

    def count(self, name: str, by: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + by

    def find(self, at_ns: int, what: str, values: tuple[str | None, str | None], messages: tuple[str, ...]) -> None:
        """Count a disagreement, values of live and history, and keep the first of them."""
        self.disagreeing += 1
        if len(self.disagreements) < MOST_DISAGREEMENTS:
            live, history = values
            self.disagreements.append(
                Disagreement(check=self.name, at_ns=at_ns, what=what, live=live, history=history, messages=messages)
            )


def compare_trades(live: Mapping[str, Trade], history: Mapping[str, Trade], scale: Scale, *, source: str) -> Check:
    """Trades by id. source: names where history comes from."""
    check = Check("trades", dict.fromkeys(("compared", "missing", "extra", "different"), 0))
    check.counts["history"] = len(history)
    if live and history and not live.keys() & history.keys():
        check.unchecked = "the tape and the archive have no trade id in common: they use different kinds of id"
        return check
    for trade_id, old in history.items():
        lived = live.get(trade_id)
        named = f"{source}, id {trade_id}"
        if lived is None:
            check.count("missing")
            check.find(old.event_ns, "trade is missing", (None, _told(old, scale)), (named,))
            continue
        check.count("compared")
        if lived[:4] != old[:4]:
            check.count("different")
            values = _told(lived, scale), _told(old, scale)
            check.find(old.event_ns, "trade differs", values, (f"tape, seq {lived.seq}", named))
    for trade_id, lived in live.items():
        if trade_id not in history:
            check.count("extra")
            messages = (f"tape, seq {lived.seq}, id {trade_id}",)
            check.find(lived.event_ns, "trade is extra", (_told(lived, scale), None), messages)
    return check


def candles_of(trades: Iterable[Trade], *, source: str) -> dict[int, Candle]:
    """What trades, in order of time, make of each minute, by its begin in ns."""
    made: dict[int, Candle] = {}
    for each in trades:
        minute = each.event_ns // MINUTE_NS * MINUTE_NS
        px, known = each.px, made.get(minute)
        if known is None or known.high is None or known.low is None:
            made[minute] = Candle(px, px, px, px, each.qty, source)
        else:
            made[minute] = Candle(
                known.open, max(known.high, px), min(known.low, px), px, known.volume + each.qty, source
            )
    return made


def compare_candles(
    candles: Mapping[int, Candle], traded: Mapping[int, Candle], scale: Scale, *, minutes: Sequence[int]
) -> Check:
    """Candles that are held against those that trades make, both by the begin of their minute, ns.

    minutes: of the day. traded: of every minute in which something was traded.
    """
    check = Check("klines", dict.fromkeys(("compared", "different", "without_candle"), 0))
    for minute in minutes:
        held = candles.get(minute)
        if held is None:
            check.count("without_candle")
            continue
        check.count("compared")
        made = traded.get(minute, Candle(None, None, None, None, 0))
        before = candles.get(minute - MINUTE_NS)
        values: list[tuple[str, str | None, str | None]] = []
        if held.volume != made.volume:
            values.append(("volume", scale.qty(held.volume), scale.qty(made.volume)))
        if made.close is not None:
            if held.open not in {made.open, None if before is None else before.close}:
                values.append(("open", scale.px(held.open), scale.px(made.open)))
            if held.close != made.close:
                values.append(("close", scale.px(held.close), scale.px(made.close)))
            values += _extremes(held, made, scale)
        if values:
            check.count("different")
        for name, live, history in values:
            check.find(minute, f"candle's {name}", (live, history), (held.source, made.source or "no trade"))
    return check


def _extremes(held: Candle, made: Candle, scale: Scale) -> list[tuple[str, str | None, str | None]]:
    """High and low; the open of a candle, which need be no trade, counts for both."""
    found = []
    for name, most in (("high", max), ("low", min)):
        traded, stated = getattr(made, name), getattr(held, name)
        if stated != traded and (held.open is None or stated != most(traded, held.open)):
            found.append((name, scale.px(stated), scale.px(traded)))
    return found


def compare_fundings(
    known: Mapping[int, tuple[int, str] | None], settled: Mapping[int, int], *, decimals: int, source: str
) -> Check:
    """Rates in mantissas by the time of the settlement, ns; known: with its message, None where it was not known."""
    check = Check("funding", dict.fromkeys(("compared", "different", "not_known"), 0))
    for at_ns, rate in settled.items():
        lived = known.get(at_ns)
        if lived is None:
            check.count("not_known")
            continue
        check.count("compared")
        if lived[0] != rate:
            check.count("different")
            values = _plain(lived[0], decimals), _plain(rate, decimals)
            check.find(at_ns, "funding rate", values, (lived[1], source))
    if settled and not check.counts["compared"]:
        check.unchecked = "no rate was known live at any settlement of the day"
    return check


def reconciliation_document(symbol: str, date: str, period: tuple[str, str], checks: Sequence[Check]) -> dict[str, Any]:
    """The day as a data quality report.

    agrees: true when every check was made and found nothing, false when one did, null otherwise.
    """
    by_name = {check.name: check for check in checks}
    trades, books = by_name["trades"].counts, by_name["orderbook"].counts
    history, compared = trades.get("history", 0), trades.get("compared", 0)
    is_checked = by_name["trades"].unchecked is None
    unchecked = {check.name: check.unchecked for check in checks if check.unchecked is not None}
    is_disagreeing = any(check.disagreeing for check in checks)
    return {
        "kind": "reconciliation",
        "symbol": symbol,
        "date": date,
        "period_start": period[0],
        "period_end": period[1],
        "agrees": False if is_disagreeing else None if unchecked else True,
        "missing_rate": trades["missing"] / history if is_checked and history else None,
        "anomaly_rate": trades["different"] / compared if is_checked and compared else None,
        "sequence_gaps": books.get("gaps", 0),
        "desynchronization_events": books.get("different", 0),
        "checks": {check.name: {**check.counts, "disagreements": check.disagreeing} for check in checks},
        "disagreements": [each.document() for check in checks for each in check.disagreements],
        "unchecked": unchecked,
    }


def _plain(mantissa: int, exponent: int) -> str:
    text = decimal_text(mantissa, exponent)
    return text.rstrip("0").rstrip(".") if "." in text else text


def _told(trade: Trade, scale: Scale) -> str:
    side = "buy" if trade.side == BUY else "sell"
    return f"{side} {scale.qty(trade.qty)} at {scale.px(trade.px)}, {format_iso(trade.event_ns)}"
