"""What the simulated exchange publishes about one symbol: Bybit's public messages, to the byte."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from ingestion.sources.simulated.decimals import DecimalStep, decimal_text, short_text
from ingestion.sources.simulated.matching import Fill, OrderBook
from market.clock import HOUR_NS, MILLISECOND_NS, MINUTE_NS, floor_to
from market.events import BUY

FUNDING_INTERVAL_HOURS = 8
FUNDING_RATE_DECIMALS = 8
FUNDING_CAP = 500_000
"""Largest funding rate either way, at FUNDING_RATE_DECIMALS: 0.5 %."""
DAY_MINUTES = 1440
_DAY_TOTAL_DECIMALS = 4
_OPEN_INTEREST_VALUE_DECIMALS = 2
_PERCENT_DECIMALS = 6


@dataclass(slots=True)
class Candle:
    """One minute of trading: prices in ticks, volume in lots, turnover in ticks × lots.

    It opens at the close before it, as the exchange's candles do, and high and low contain that price.
    """

    start_ns: int
    open: int
    high: int
    low: int
    close: int
    lots: int = 0
    turnover: int = 0

    def trade(self, tick: int, lots: int) -> None:
        self.high = max(self.high, tick)
        self.low = min(self.low, tick)
        self.close = tick
        self.lots += lots
        self.turnover += tick * lots

    def next(self) -> Candle:
        """The minute after, still without a trade."""
        return Candle(self.start_ns + MINUTE_NS, self.close, self.close, self.close, self.close)


@dataclass(slots=True)
class ContractState:
    """What a ticker says beyond the book and the trades.

    mark, index: price mantissas at the tick's decimals. open_interest: lots.
    funding_rate: at FUNDING_RATE_DECIMALS.
    """

    mark: int
    index: int
    open_interest: int
    funding_rate: int


class PublicFeed:
    """The messages of one symbol, each a view of the market at the moment it is asked for."""

    def __init__(
        self, symbol: str, *, tick: DecimalStep, lot: DecimalStep, depth: int, history: Sequence[Candle], identity: str
    ) -> None:
        """``history`` is the last day, one candle a minute, the newest still open; ``identity`` seeds the trade ids."""
        self._symbol = symbol
        self._tick = tick
        self._lot = lot
        self._depth = depth
        self._identity = identity
        self._trade_count = 0
        self._tick_direction = "ZeroPlusTick"
        self._bids: dict[int, int] = {}
        self._asks: dict[int, int] = {}
        self._update_id = 0
        self._ticker: dict[str, str] = {}
        self._candle = history[-1]
        self._closed: Candle | None = None
        self._day = deque(history[:-1], maxlen=DAY_MINUTES)
        self._measure_day()

    @property
    def minute_end_ns(self) -> int:
        """When the open candle ends."""
        return self._candle.start_ns + MINUTE_NS

    def book_snapshot(self, book: OrderBook, *, at_ns: int, seq: int, update_id: int) -> bytes:
        """The whole window; its ``u`` is ``update_id`` and each delta after it adds one."""
        self._bids, self._asks = book.bids.top(self._depth), book.asks.top(self._depth)
        self._update_id = update_id
        return self._book("snapshot", self._bids, self._asks, at_ns=at_ns, changed_ns=at_ns, seq=seq)

    def book_delta(self, book: OrderBook, *, at_ns: int, changed_ns: int, seq: int) -> bytes | None:
        """What changed in the window since the last book message, or None; what left it has size "0"."""
        bids, asks = book.bids.top(self._depth), book.asks.top(self._depth)
        bid_changes, ask_changes = _changes(self._bids, bids), _changes(self._asks, asks)
        if not bid_changes and not ask_changes:
            return None
        self._bids, self._asks = bids, asks
        self._update_id += 1
        return self._book("delta", bid_changes, ask_changes, at_ns=at_ns, changed_ns=changed_ns, seq=seq)

    def trades(self, fills: Sequence[Fill], *, taker: int, at_ns: int, seq: int) -> bytes:
        """The fills of one market order. The open candle must be that of ``at_ns``: see ``roll``."""
        at_ms = at_ns // MILLISECOND_NS
        side = "Buy" if taker == BUY else "Sell"
        elements = []
        for price, lots in fills:
            if price != self._candle.close:
                self._tick_direction = "PlusTick" if price > self._candle.close else "MinusTick"
            elif not self._tick_direction.startswith("Zero"):
                self._tick_direction = "Zero" + self._tick_direction
            self._candle.trade(price, lots)
            self._trade_count += 1
            elements.append(
                {
                    "T": at_ms,
                    "s": self._symbol,
                    "S": side,
                    "v": self._lot.text(lots),
                    "p": self._tick.text(price),
                    "L": self._tick_direction,
                    "i": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self._identity}/{self._trade_count}")),
                    "BT": False,
                    "RPI": False,
                    "seq": seq,
                }
            )
        return orjson.dumps(
            {"topic": f"publicTrade.{self._symbol}", "type": "snapshot", "ts": at_ms + 1, "data": elements}
        )

    def roll(self, now_ns: int) -> None:
        """Close the candle when its minute has ended by ``now_ns``."""
        if now_ns < self.minute_end_ns:
            return
        self._closed = self._candle
        self._candle = self._closed.next()
        self._day.append(self._closed)
        self._measure_day()

    def kline(self, now_ns: int) -> bytes:
        """The open candle; after the end of a minute, once, the closed one before it, confirmed."""
        at_ms = now_ns // MILLISECOND_NS
        candles = [] if self._closed is None else [self._kline(self._closed, at_ms, confirm=True)]
        self._closed = None
        candles.append(self._kline(self._candle, at_ms, confirm=False))
        return orjson.dumps({"topic": f"kline.1.{self._symbol}", "data": candles, "ts": at_ms, "type": "snapshot"})

    def ticker(self, book: OrderBook, contract: ContractState, *, now_ns: int, seq: int) -> bytes | None:
        """First everything, then the fields that changed since the last ticker, or None when none did."""
        fields = self._ticker_fields(book, contract, now_ns)
        changed = {name: text for name, text in fields.items() if self._ticker.get(name) != text}
        if not changed:
            return None
        kind = "delta" if self._ticker else "snapshot"
        self._ticker = fields
        return orjson.dumps(
            {
                "topic": f"tickers.{self._symbol}",
                "type": kind,
                "data": {"symbol": self._symbol, **changed},
                "cs": seq,
                "ts": now_ns // MILLISECOND_NS,
            }
        )

    def _book(
        self, kind: str, bids: dict[int, int], asks: dict[int, int], *, at_ns: int, changed_ns: int, seq: int
    ) -> bytes:
        levels = {"b": self._levels(bids, sign=-1), "a": self._levels(asks, sign=1)}
        return orjson.dumps(
            {
                "topic": f"orderbook.{self._depth}.{self._symbol}",
                "type": kind,
                "ts": at_ns // MILLISECOND_NS,
                "data": {"s": self._symbol, **levels, "u": self._update_id, "seq": seq},
                "cts": changed_ns // MILLISECOND_NS,
            }
        )

    def _levels(self, lots_by_tick: dict[int, int], *, sign: int) -> list[tuple[str, str]]:
        """Price and size texts, best first: ``sign`` is -1 for bids, 1 for asks."""
        price, quantity = self._tick.text, self._lot.text
        ticks = sorted(lots_by_tick, reverse=sign < 0)
        return [(price(tick), quantity(lots_by_tick[tick]) if lots_by_tick[tick] else "0") for tick in ticks]

    def _kline(self, candle: Candle, at_ms: int, *, confirm: bool) -> dict[str, Any]:
        start_ms = candle.start_ns // MILLISECOND_NS
        step, decimals = self._tick.mantissa, self._tick.decimals
        return {
            "start": start_ms,
            "end": start_ms + MINUTE_NS // MILLISECOND_NS - 1,
            "interval": "1",
            "open": short_text(candle.open * step, decimals),
            "close": short_text(candle.close * step, decimals),
            "high": short_text(candle.high * step, decimals),
            "low": short_text(candle.low * step, decimals),
            "volume": short_text(candle.lots * self._lot.mantissa, self._lot.decimals),
            "turnover": short_text(self._turnover(candle.turnover), decimals + self._lot.decimals),
            "confirm": confirm,
            "timestamp": at_ms,
        }

    def _turnover(self, tick_lots: int) -> int:
        return tick_lots * self._tick.mantissa * self._lot.mantissa

    def _measure_day(self) -> None:
        self._day_high = max(candle.high for candle in self._day)
        self._day_low = min(candle.low for candle in self._day)
        self._day_lots = sum(candle.lots for candle in self._day)
        self._day_turnover = sum(candle.turnover for candle in self._day)

    def _ticker_fields(self, book: OrderBook, contract: ContractState, now_ns: int) -> dict[str, str]:
        candle, tick, lot = self._candle, self._tick, self._lot
        last, day_ago = candle.close, self._day[0].open
        turnover = self._turnover(self._day_turnover + candle.turnover)
        volume = (self._day_lots + candle.lots) * lot.mantissa
        open_interest_value = contract.mark * contract.open_interest * lot.mantissa
        funding_interval_ns = FUNDING_INTERVAL_HOURS * HOUR_NS
        return {
            "tickDirection": self._tick_direction,
            "price24hPcnt": decimal_text((last - day_ago) * 10**_PERCENT_DECIMALS // day_ago, _PERCENT_DECIMALS),
            "lastPrice": tick.text(last),
            "prevPrice24h": tick.text(day_ago),
            "highPrice24h": tick.text(max(self._day_high, candle.high)),
            "lowPrice24h": tick.text(min(self._day_low, candle.low)),
            "prevPrice1h": tick.text(self._day[-60].open),
            "markPrice": decimal_text(contract.mark, tick.decimals),
            "indexPrice": decimal_text(contract.index, tick.decimals),
            "openInterest": lot.text(contract.open_interest),
            "openInterestValue": _cut(open_interest_value, tick.decimals + lot.decimals, _OPEN_INTEREST_VALUE_DECIMALS),
            "turnover24h": _cut(turnover, tick.decimals + lot.decimals, _DAY_TOTAL_DECIMALS),
            "volume24h": _cut(volume, lot.decimals, _DAY_TOTAL_DECIMALS),
            "fundingIntervalHour": str(FUNDING_INTERVAL_HOURS),
            "fundingCap": short_text(FUNDING_CAP, FUNDING_RATE_DECIMALS),
            "nextFundingTime": str((floor_to(now_ns, funding_interval_ns) + funding_interval_ns) // MILLISECOND_NS),
            "fundingRate": short_text(contract.funding_rate, FUNDING_RATE_DECIMALS),
            "bid1Price": tick.text(book.bids.best),
            "bid1Size": lot.text(book.bids.best_lots),
            "ask1Price": tick.text(book.asks.best),
            "ask1Size": lot.text(book.asks.best_lots),
            "preOpenPrice": "",
            "preQty": "",
            "curPreListingPhase": "",
        }


def _changes(before: dict[int, int], after: dict[int, int]) -> dict[int, int]:
    changes = {tick: lots for tick, lots in after.items() if before.get(tick) != lots}
    changes.update(dict.fromkeys(before.keys() - after.keys(), 0))
    return changes


def _cut(value: int, decimals: int, kept: int) -> str:
    """``value / 10**decimals`` written with exactly ``kept`` decimals, cut towards zero; for positive values."""
    return decimal_text(value * 10**kept // 10**decimals, kept)
