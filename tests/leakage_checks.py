"""Leakage checks of the days of ``tests.many_days``, as far as they compute again: rows and stretches of the log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from market.clock import DAY_NS, HOUR_NS, SECOND_NS
from market.errors import InvalidRequest
from storage.features.log import FeatureLog
from storage.raw.raw_data import RawData
from tests.many_days import BEGIN_NS, CHOSEN
from training_sets.checks.blinding import Known, Origin
from training_sets.checks.drawn import Drawn
from training_sets.checks.log_days import Stretch, check_stretches
from training_sets.checks.recomputing import Recomputing
from training_sets.engines.engine import Engine
from training_sets.samples.columns import DatasetFeatures


def checking(raw: Path, features: Path, kernel_cache: Path, symbols: Sequence[str], *, engine: Engine | None) -> Origin:
    """Where a check reads these folders, with an engine that is worth asking."""
    shared = RawData(raw)
    return Origin(
        DatasetFeatures.of_version(CHOSEN),
        FeatureLog(features),
        dict.fromkeys(symbols, shared),
        kernel_cache,
        SECOND_NS,
        Recomputing(engine, shared, worth_engine=0),
    )


def drawn_rows(features: Path, symbols: Sequence[str], days: int) -> list[Known]:
    """A row of each symbol-day, as the log has it."""
    rows = []
    for symbol in symbols:
        for number in range(days):
            at_ns = BEGIN_NS + number * DAY_NS + 12 * HOUR_NS + number * SECOND_NS
            logged, _ = FeatureLog(features).read(symbol, CHOSEN, from_ns=at_ns, to_ns=at_ns + 1)
            drawn = Drawn("train", symbol, at_ns, logged.values[0])
            rows.append(Known(drawn, at_ns, at_ns, at_ns, np.full(len(CHOSEN.columns), -1)))
    return rows


def plant(features: Path, symbol: str, date: str) -> None:
    """Another volume in a day's rows of the log."""
    [path] = features.glob(f"*/*/symbol={symbol}/date={date}/*.parquet")
    table = pq.read_table(path, partitioning=None)
    at = table.schema.get_field_index("volume_3s")
    pq.write_table(table.set_column(at, "volume_3s", pc.add(table.column(at), 1.0)), path)


def day_stretches(symbols: Sequence[str], days: int) -> list[Stretch]:
    """Each symbol-day."""
    begins = [BEGIN_NS + number * DAY_NS for number in range(days)]
    return [Stretch(symbol, begin_ns, begin_ns + DAY_NS - 1) for symbol in symbols for begin_ns in begins]


def accused(symbols: Sequence[str], days: int, origin: Origin) -> str:
    """What the check of each symbol-day of the log says of the first that differs."""
    with pytest.raises(InvalidRequest) as told:
        check_stretches(day_stretches(symbols, days), origin)
    return str(told.value)
