"""The trade, kline and ticker streams of a period: what is missing, silent, or far from the rest."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, KeysView, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from market.clock import MINUTE_NS
from market.events import CANDLE, CONFIRMED, FIRST, INDEX_PRICE, KLINE, MARK_PRICE, TICKER, TRADE, VOLUME, Events
from quality.limits import USUAL_LIMITS, QualityLimits
from quality.outliers import OutlierSearch

Int64s = npt.NDArray[np.int64]


@dataclass(slots=True)
class Pauses:
    """received: messages. silences: (begin, end) of every pause longer than ``longest_ns``."""

    longest_ns: int
    received: int = 0
    silences: list[tuple[int, int]] = field(default_factory=list)
    last_ns: int | None = None

    def add(self, recv_ns: Int64s) -> None:
        if len(recv_ns) == 0:
            return
        times = np.concatenate([[recv_ns[0] if self.last_ns is None else self.last_ns], recv_ns])
        for at in np.flatnonzero(np.diff(times) > self.longest_ns).tolist():
            self.silences.append((int(times[at]), int(times[at + 1])))
        self.received += len(recv_ns)
        self.last_ns = int(recv_ns[-1])


class MarketStreams:
    """Takes the trade, kline and ticker events of a period in tape order.

    scales: 10**exponent of the symbol's prices and of its quantities; None judges no trade. early_candles: by the
    minutes of the interval, how many were confirmed before they ended by our clock. candle_volume, traded_volume:
    mantissas by minute of the exchange's clock.
    """

    def __init__(
        self,
        *,
        scales: tuple[float, float] | None,
        last_ns: Mapping[int, int] | None = None,
        limits: QualityLimits = USUAL_LIMITS,
    ) -> None:
        """last_ns: of the last message of each kind before the period, where there was one."""
        before = last_ns or {}
        self.pauses = {
            kind: Pauses(limits.silences_ns[kind], last_ns=before.get(kind)) for kind in (TRADE, KLINE, TICKER)
        }
        self.trades = 0
        self.outliers = OutlierSearch(deviations=limits.outlier_deviations)
        self.repeated_candles = 0
        self.early_candles: Counter[int] = Counter()
        self.candle_volume: dict[int, int] = {}
        self.traded_volume: dict[int, int] = {}
        self.first_trade_ns: int | None = None
        self.last_trade_ns: int | None = None
        self._scales = scales
        self._reference_ns: Int64s = np.empty(0, np.int64)
        self._reference: npt.NDArray[np.float64] = np.empty(0)

    @property
    def candles(self) -> KeysView[int]:
        """Starts of confirmed candles, ns."""
        return self.candle_volume.keys()

    def add(self, events: Events) -> None:
        """Take consecutive events of whole messages; other kinds are passed by."""
        kinds = events["kind"]
        for kind, take in ((TICKER, self._tickers), (KLINE, self._klines), (TRADE, self._trades)):
            is_of_kind = kinds == kind
            if not is_of_kind.any():
                continue
            of_kind = events.take(np.flatnonzero(is_of_kind))  # twice as fast as by a mask
            self.pauses[kind].add(of_kind["recv_ns"][(of_kind["flags"] & FIRST) != 0])
            take(of_kind)
        self._early(events.take(np.flatnonzero((kinds == KLINE) | (kinds == CANDLE))))

    def _tickers(self, tickers: Events) -> None:
        if self._scales is None:
            return
        fields, px = tickers["field"], tickers["px"]
        at = np.flatnonzero(((fields == MARK_PRICE) | (fields == INDEX_PRICE)) & (px > 0))
        if len(at):
            # Receive times may fall a little; what was known by then rises.
            known_ns = np.concatenate([self._reference_ns[-1:], tickers["recv_ns"][at]])
            self._reference_ns = np.maximum.accumulate(known_ns)
            self._reference = np.concatenate([self._reference[-1:], px[at] / self._scales[0]])

    def _klines(self, klines: Events) -> None:
        confirmed = klines[(klines["flags"] & CONFIRMED) != 0]
        volumes = confirmed[confirmed["field"] == VOLUME]
        before = len(self.candle_volume)
        self.candle_volume.update(zip(volumes["update_id"].tolist(), volumes["px"].tolist(), strict=True))
        self.repeated_candles += len(volumes) - (len(self.candle_volume) - before)

    def _early(self, candles: Events) -> None:
        stated = candles[(candles["field"] == VOLUME) & ((candles["flags"] & CONFIRMED) != 0)]
        minutes = np.where(stated["kind"] == KLINE, 1, stated["qty"])
        is_early = stated["recv_ns"] < stated["update_id"] + minutes * MINUTE_NS
        self.early_candles.update(minutes[is_early].tolist())

    def _trades(self, trades: Events) -> None:
        if len(trades) == 0:
            return
        self.trades += len(trades)
        recv_ns, quantities = trades["recv_ns"].copy(), trades["qty"].copy()
        for minute, traded in _by_minute(trades["event_ns"] // MINUTE_NS, quantities):
            self.traded_volume[minute] = self.traded_volume.get(minute, 0) + traded
        first, last = int(recv_ns.min()), int(recv_ns.max())
        self.first_trade_ns = first if self.first_trade_ns is None else min(self.first_trade_ns, first)
        self.last_trade_ns = last if self.last_trade_ns is None else max(self.last_trade_ns, last)
        if self._scales is None:
            return
        # Before the first reference stands an unknown one, at place 0.
        known = np.searchsorted(self._reference_ns, recv_ns, side="right")
        references = np.concatenate([[np.nan], self._reference])[known]
        prices, sizes = trades["px"] / self._scales[0], quantities / self._scales[1]
        self.outliers.add(recv_ns, prices, sizes, references)

    def differing_minutes(self) -> tuple[int, list[int]]:
        """Whole minutes that have trades on both sides of them and a candle: how many, and whose volumes differ."""
        if self.first_trade_ns is None or self.last_trade_ns is None:
            return 0, []
        inside = [
            start_ns
            for start_ns in sorted(self.candle_volume)
            if self.first_trade_ns <= start_ns and start_ns + MINUTE_NS <= self.last_trade_ns
        ]
        return len(inside), [at for at in inside if self.candle_volume[at] != self.traded_volume.get(at, 0)]


def _by_minute(minutes: Int64s, quantities: Int64s) -> Iterator[tuple[int, int]]:
    """Each minute's begin, ns, and its quantity, exact at any size; a minute that comes back comes again."""
    is_small = len(quantities) * int(quantities.max()) < 1 << 63
    cuts = [0, *(np.flatnonzero(np.diff(minutes)) + 1).tolist(), len(minutes)]
    for begin, end in itertools.pairwise(cuts):
        of_minute = quantities[begin:end]
        yield int(minutes[begin]) * MINUTE_NS, int(of_minute.sum()) if is_small else sum(of_minute.tolist())
