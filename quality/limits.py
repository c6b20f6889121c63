"""Limits: from when on what a stream does is told as wrong; the settings give them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from market.clock import MILLISECOND_NS, SECOND_NS
from market.events import KLINE, ORDERBOOK, TICKER, TRADE

FEWEST_ODD: Final = 100
"""Messages that are late or come again are told from so many on, whatever their share: a restart brings some again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityLimits:
    """missing_rate, anomaly_rate: shares of messages that are missing and of trades that are outliers.

    late_rate, duplicate_rate: shares of messages that came after their row was closed, and of such as came again.
    book_silence_s and so on: longer pauses are silences; a quiet market can be without trades for a minute, the
    ticker's deltas never are. repair_s: a book that a snapshot repaired within it needs nobody. clock_jump_ms: from one
    minute's median offset to the next. outlier_deviations: scaled MADs between an outlier and its reference.
    """

    missing_rate: float = 0.01
    anomaly_rate: float = 0.01
    late_rate: float = 0.05
    duplicate_rate: float = 0.05
    book_silence_s: int = 5
    trade_silence_s: int = 60
    ticker_silence_s: int = 60
    kline_silence_s: int = 120
    repair_s: int = 10
    clock_jump_ms: int = 250
    outlier_deviations: float = 10.0

    @property
    def silences_ns(self) -> Mapping[int, int]:
        """The longest pause of each kind of messages that is none."""
        return {
            ORDERBOOK: self.book_silence_s * SECOND_NS,
            TRADE: self.trade_silence_s * SECOND_NS,
            KLINE: self.kline_silence_s * SECOND_NS,
            TICKER: self.ticker_silence_s * SECOND_NS,
        }

    @property
    def clock_jump_ns(self) -> int:
        return self.clock_jump_ms * MILLISECOND_NS


USUAL_LIMITS: Final = QualityLimits()


def is_odd(count: int, of: int, rate: float) -> bool:
    """Whether so many messages of ``of`` came late, or again, that somebody should look."""
    return count >= FEWEST_ODD and count > rate * of
