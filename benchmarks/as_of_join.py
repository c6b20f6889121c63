"""The as-of join: training rows from the feature log through Feast, against polars and Feast's file stores."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.feast_rows import OURS, TTL, name_of, open_feast
from benchmarks.measure import Figure, in_child, median_seconds, peak_rss_mb
from benchmarks.tape import START_NS
from market.clock import MILLISECOND_NS, SECOND_NS
from storage.features.parts import PART_FORMAT

FEATURES: Final = tuple(f"feature_{number:02d}" for number in range(20))
_TIME: Final = pa.timestamp("ns", "UTC")


@dataclass(frozen=True, slots=True)
class Size:
    """Feature rows at one a second for each symbol, and entity rows at random seconds of theirs."""

    symbols: int
    rows_a_symbol: int
    entities: int

    def __str__(self) -> str:
        return f"{self.entities:,} x {self.symbols * self.rows_a_symbol:,} rows"


LARGE: Final = Size(10, 1_000_000, 1_000_000)
QUARTER: Final = Size(10, 250_000, 250_000)
FEASTS: Final = {"dask": Size(2, 2_000, 2_000), "duckdb": Size(2, 20_000, 20_000)}
"""What Feast's own stores survive in seconds: they multiply a symbol's rows with its entity rows."""


def run(folder: Path) -> Iterator[Figure]:
    large = feature_log(folder, LARGE)
    ours_s, polars_s = in_child(_against_polars, large, LARGE)
    peak_mb, output_mb = in_child(_peak_of, large, LARGE, "ours")
    polars_peak_mb, _ = in_child(_peak_of, large, LARGE, "polars")
    yield Figure(
        f"as-of join: {LARGE}, {len(FEATURES)} features",
        LARGE.entities / ours_s / 1e6,
        "M rows/s",
        "higher",
        yardstick="polars join_asof",
        yardstick_value=LARGE.entities / polars_s / 1e6,
        goal=">= 1",
        required="> 1 a minute",
    )
    yield Figure(
        f"as-of join: {LARGE}, memory above what was held before",
        peak_mb,
        "MB",
        "lower",
        yardstick="polars join_asof",
        yardstick_value=polars_peak_mb,
        goal="<= 3x the output",
        details={"output_mb": output_mb},
    )
    for store, size in FEASTS.items():
        if store == "duckdb" and find_spec("ibis") is None:
            continue  # Feast's duckdb extra is not a dependency: measured if it is installed
        log = feature_log(folder, size, unit="us")
        ours_s, ours_mb = in_child(_beside_feast, log, size, OURS)
        feasts_s, feasts_mb = in_child(_beside_feast, log, size, {"type": store})
        yield Figure(
            f"as-of join: {size}, {len(FEATURES)} features",
            size.entities / ours_s,
            "rows/s",
            "higher",
            yardstick=f"Feast's {store} store",
            yardstick_value=size.entities / feasts_s,
            details={"memory_mb": ours_mb, "yardstick_memory_mb": feasts_mb},
        )


def feature_log(folder: Path, size: Size, *, unit: Literal["us", "ns"] = "ns") -> Path:
    """A folder of feature rows, a file a symbol, encoded as the feature log is; written on the first call.

    unit: of its times; Feast's duckdb store rejects nanoseconds.
    """
    log = folder / f"as_of_{size.symbols}_{size.rows_a_symbol}"
    if log.exists():
        return log
    random = np.random.default_rng(1)
    time = pa.timestamp(unit, "UTC")
    for number in range(size.symbols):
        path = log / f"symbol={name_of(number)}" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        event_ns = START_NS + np.arange(size.rows_a_symbol) * SECOND_NS
        table = pa.table(
            {
                "event_timestamp": pa.array(event_ns).cast(_TIME).cast(time),
                "created_timestamp": pa.array(event_ns + 10 * MILLISECOND_NS).cast(_TIME).cast(time),
                "symbol": pa.repeat(name_of(number), size.rows_a_symbol),
                **{name: pa.array(random.normal(size=size.rows_a_symbol)) for name in FEATURES},
            }
        )
        required = pa.schema(
            [field.with_nullable(nullable=False) for field in table.schema]
        )  # as those of the feature log
        pq.write_table(table.cast(required), path, **PART_FORMAT)
    return log


def entity_rows(size: Size) -> pd.DataFrame:
    """Random symbols at random seconds, in no order."""
    random = np.random.default_rng(2)
    names = np.array([name_of(number) for number in range(size.symbols)])
    times_ns = START_NS + random.integers(1, size.rows_a_symbol, size.entities) * SECOND_NS
    return pd.DataFrame(
        {
            "symbol": names[random.integers(0, size.symbols, size.entities)],
            "event_timestamp": pd.to_datetime(times_ns, utc=True),
        }
    )


def joining_with_feast(log: Path, entities: pd.DataFrame, offline_store: Mapping[str, Any]) -> Callable[[], pa.Table]:
    """The join through Feast's ``get_historical_features`` on one of its offline stores."""
    path = f"{log}/*/*.parquet" if offline_store["type"] == "duckdb" else None  # it lists no folder
    store = open_feast(log, offline_store, FEATURES, path=path)
    features = [f"rows:{name}" for name in FEATURES]

    def join() -> pa.Table:
        return store.get_historical_features(entity_df=entities, features=features).to_arrow()

    return join


def _joining_with_polars(log: Path, entities: pd.DataFrame) -> Callable[[], pl.DataFrame]:
    """The same rows by polars: those created at the time asked for, in the order of time."""
    asked = pl.from_pandas(entities)

    def join() -> pl.DataFrame:
        rows = pl.read_parquet(log / "**" / "*.parquet", hive_partitioning=False)
        return asked.sort("event_timestamp").join_asof(
            rows,
            left_on="event_timestamp",
            right_on="created_timestamp",
            by="symbol",
            tolerance=TTL,
            check_sortedness=False,  # a file a symbol, by time
        )

    return join


def _against_polars(log: Path, size: Size) -> tuple[float, float]:
    entities = entity_rows(size)
    ours = joining_with_feast(log, entities, OURS)
    polars = _joining_with_polars(log, entities)
    keys = ["event_timestamp", "symbol"]
    found = pl.DataFrame(ours()).sort(keys).select(FEATURES)
    if not found.equals(polars().sort(keys).select(FEATURES)):
        raise RuntimeError("as-of join: must find the rows that polars finds, was others")
    del found
    ours_s, polars_s = median_seconds(ours, polars)
    return ours_s, polars_s


def _beside_feast(log: Path, size: Size, offline_store: Mapping[str, Any]) -> tuple[float, float]:
    """Seconds of a join on one of Feast's stores, and the memory it took above what was held before, MB."""
    warnings.simplefilter("ignore")  # dask warns of Feast's own merge
    entities = entity_rows(size).drop_duplicates()  # Feast's stores would drop them
    join = joining_with_feast(log, entities, offline_store)
    before_mb = peak_rss_mb()
    [took_s] = median_seconds(join)
    return took_s, peak_rss_mb() - before_mb


def _peak_of(log: Path, size: Size, which: str) -> tuple[float, float]:
    """Memory that one join took at most above what the process held before, and its output's, MB."""
    entities = entity_rows(size)
    if which == "polars":
        join: Callable[[], pa.Table | pl.DataFrame] = _joining_with_polars(log, entities)
    else:
        join = joining_with_feast(log, entities, OURS)
    before_mb = peak_rss_mb()
    output = join()
    size_mb = output.estimated_size("mb") if isinstance(output, pl.DataFrame) else output.nbytes / 2**20
    return peak_rss_mb() - before_mb, size_mb
