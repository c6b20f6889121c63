"""Raw data of many symbols and days that is cheap to rebuild, and the files of a rebuild by their bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from market.clock import DAY_NS, MINUTE_NS, parse_iso_ns
from market.events import TRADE, Events, empty_events
from market.instruments import Instrument
from storage.features.log import FeatureLog
from storage.raw.parquet import write_events
from storage.raw.raw_data import RawData
from training_sets.rebuild.days import DayRange, rebuild_days
from training_sets.rebuild.due_days import Rebuild
from transforms.catalogue import feature_set

BEGIN_NS = parse_iso_ns("2026-01-05")
CHOSEN = feature_set("0.0.1", ["vwap_3s", "volume_3s"])


def write_days(raw: Path, symbols: Sequence[str], days: int) -> None:
    """A trade a minute of every symbol."""
    for symbol in symbols:
        for number in range(days):
            write_events(raw, Instrument(symbol, 3, 6), trades_of_a_day(number), part=f"{number}")


def trades_of_a_day(number: int) -> Events:
    """A trade a minute."""
    records = empty_events(1440)
    records["seq"] = number * 1440 + np.arange(1440) + 1
    records["recv_ns"] = records["event_ns"] = BEGIN_NS + number * DAY_NS + np.arange(1440) * MINUTE_NS
    records["kind"], records["flags"] = TRADE, 3
    records["px"], records["qty"] = 60_000_000 + np.arange(1440) % 97, 1000
    return records


def ranges(raw: Path, features: Path, kernel_cache: Path, symbols: Sequence[str]) -> list[DayRange]:
    """All days of the symbols."""
    return [DayRange(Rebuild(RawData(raw), FeatureLog(features), kernel_cache, symbol, CHOSEN)) for symbol in symbols]


def rebuilt_here(raw: Path, features: Path, kernel_cache: Path, symbols: Sequence[str], days: int) -> dict[str, str]:
    """The files of a rebuild of all days in this thread, each of which is computed."""
    rebuilt = [*rebuild_days(ranges(raw, features, kernel_cache, symbols))]
    assert sum(day.rows > 0 for day in rebuilt) == len(symbols) * days
    return digests(features)


def digests(features: Path) -> dict[str, str]:
    """The hash of every file of the feature log by its path."""
    return {
        str(path.relative_to(features)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(features.rglob("*.parquet"))
    }
