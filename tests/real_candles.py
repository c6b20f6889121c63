"""Real candles as raw Parquet: those of BTCUSDT, five minutes each, played as if each were one minute, or of DOGEUSDT.

Prices and volumes are the recorded ones; only the clock of BTCUSDT runs five times as fast, because one minute is the
candle that the service knows. The recordings have no turnover: it is stated as volume times close, which no feature
reads.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from market.clock import DAY_NS, MINUTE_NS, SECOND_NS, parse_iso_ns
from market.events import CONFIRMED, FIRST, KLINE, KLINE_FIELD_COUNT, LAST, Events, empty_events
from market.instruments import Instrument, pin_scale
from storage.raw.parquet import write_events

SYMBOL: Final = "BTCUSDT"
INSTRUMENT: Final = pin_scale(SYMBOL, "81794.8")
DAY_CANDLES: Final = DAY_NS // MINUTE_NS
BEGIN_NS: Final = parse_iso_ns("2026-01-01T00:00:00")


@dataclass(frozen=True, slots=True)
class Candle:
    """One recorded candle, as text; ``start_ns`` is the recorded one."""

    start_ns: int
    open: str
    high: str
    low: str
    close: str
    volume: str


def recorded_candles(recorded_data: Path, count: int | None = None, *, recording: str = "BTCUSDT_5m") -> list[Candle]:
    """The first ``count`` candles of a recording; None is all: 25,920 of BTCUSDT, 90 days, 43,200 of DOGEUSDT, 30."""
    with gzip.open(recorded_data / "klines" / f"{recording}.csv.gz", "rt") as file:
        return [
            Candle(parse_iso_ns(row["timestamp"]), row["open"], row["high"], row["low"], row["close"], row["volume"])
            for row in islice(csv.DictReader(file), count)
        ]


def write_day(
    raw_folder: Path,
    day: int,
    candles: Sequence[Candle],
    *,
    instrument: Instrument = INSTRUMENT,
    begin_ns: int = BEGIN_NS,
) -> None:
    """One more part of raw Parquet: a day's candles, a minute each, that arrive a second after their end.

    begin_ns: of day 0.
    """
    count = len(candles)
    records: Events = empty_events(count * KLINE_FIELD_COUNT)
    rows = records.reshape(count, KLINE_FIELD_COUNT)
    begins_ns = begin_ns + day * DAY_NS + np.arange(count) * MINUTE_NS
    rows["kind"] = KLINE
    rows["field"] = range(KLINE_FIELD_COUNT)
    rows["update_id"] = begins_ns[:, None]
    rows["event_ns"] = begins_ns[:, None] + MINUTE_NS
    rows["recv_ns"] = begins_ns[:, None] + MINUTE_NS + SECOND_NS
    rows["seq"] = (1 + day * DAY_CANDLES + np.arange(count))[:, None]
    rows["flags"] = CONFIRMED
    rows["flags"][:, 0] |= FIRST
    rows["flags"][:, -1] |= LAST
    for row, candle in zip(rows, candles, strict=True):
        close, volume = instrument.price(candle.close), instrument.quantity(candle.volume)
        row["px"] = (
            instrument.price(candle.open),
            instrument.price(candle.high),
            instrument.price(candle.low),
            close,
            volume,
            close * volume // 10**instrument.quantity_exponent,
        )
    write_events(raw_folder, instrument, records, part=f"{day:04d}")
