"""Views of others to join to samples: a restated one, and what is to be known of it at each moment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureView, Field, FileSource

from market.clock import SECOND_NS, parse_iso_ns

START_NS = parse_iso_ns("2026-01-05T12:00:00")
SYMBOLS = ("BTCUSDT", "ETHUSDT")
BETA = ((-60, -60, 1.0), (30, 90, 2.0), (60, 60, 3.0), (100, 100, None), (150, 150, 5.0))
"""Seconds after the start: when a value is of, since when it was known, the value."""
TTL_S = 120


def stamps(seconds: Sequence[float]) -> pa.Array[Any]:
    return pa.array([START_NS + round(each * SECOND_NS) for each in seconds]).cast(pa.timestamp("ns", "UTC"))


def view_of(
    name: str, path: Path, entities: list[Entity], fields: dict[str, Any], created: str | None = "created"
) -> FeatureView:
    return FeatureView(
        name=name,
        entities=entities,
        ttl=timedelta(seconds=TTL_S) if name == "beta" else timedelta(0),
        schema=[Field(name=each, dtype=kind) for each, kind in fields.items()],
        source=FileSource(
            name=f"{name}_file", path=str(path), timestamp_field="at", created_timestamp_column=created or ""
        ),
    )


def write_beta(path: Path, rows: Sequence[tuple[float, float, float | None]] = BETA) -> None:
    """Of the second symbol the tenfold."""
    at, created, values = zip(*rows, strict=True)
    tables = [
        pa.table(
            {
                "symbol": [symbol] * len(rows),
                "at": stamps(at),
                "created": stamps(created),
                "value": pa.array([None if value is None else value * factor for value in values], pa.float64()),
                "label": ["text"] * len(rows),
            }
        )
        for symbol, factor in zip(SYMBOLS, (1.0, 10.0), strict=True)
    ]
    pq.write_table(pa.concat_tables(tables), path)


def expected_beta(at_ns: int, factor: float) -> float:
    """Of the rows that had happened and were known: the newest, unless it is too old or null."""
    at_s = (at_ns - START_NS) / SECOND_NS
    known = [(of, value) for of, since, value in BETA if of <= at_s and since <= at_s]
    of, value = known[-1]
    return np.nan if value is None or at_s - of > TTL_S else value * factor


def check_joined(table: pd.DataFrame, had_ns: Sequence[int]) -> None:
    for sample, at_ns in zip(table.itertuples(index=False), had_ns, strict=True):
        factor = 1.0 if sample.symbol == "BTCUSDT" else 10.0
        of_fees = 0.5 if sample.symbol == "BTCUSDT" else np.nan
        days = 1.0 if at_ns < START_NS + 80 * SECOND_NS else 2.0
        found: list[Any] = [sample.beta__value, sample.fees__maker, sample.calendar__holidays]
        assert np.array_equal(found, [expected_beta(at_ns, factor), of_fees, days], equal_nan=True), (sample, at_ns)
