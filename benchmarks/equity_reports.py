"""Fundamentals at size: twenty years of quarterly reports of every company, some restated, beside its daily bars."""

from __future__ import annotations

import resource
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import polars as pl

if TYPE_CHECKING:
    from storage.tables.reading import Table

GROUP: Final = "fundamental_features"
RESTATED: Final = 10
"""Of so many reports one is restated, sixty days after it was published."""
MAPPING: Final = """
table: reports
path: reports.parquet
key: ticker
event_time: quarter
known_time: published
columns:
  revenue: revenue
  net_income: net_income
  equity: equity
  total_assets: total_assets
  total_debt: total_debt
  shares_outstanding: shares_outstanding
"""


def fundamentals(folder: Path, bars: Table, written: pd.DataFrame, now_ns: int) -> dict[str, Any]:
    """The group from nothing until the day before ``now_ns``, then that day; seconds, and how far polars is apart.

    bars: as they were read; written: the same as they were written.
    """
    from market.clock import DAY_NS
    from storage.tables.feature_log import extend_table_log
    from storage.tables.mapping import load_mapping
    from storage.tables.reading import read_table
    from transforms.equities.catalogue import TABLE_GROUPS

    reports = _reports(written)
    reports.to_parquet(folder / "reports.parquet", index=False)
    (folder / "reports.yaml").write_text(MAPPING)
    group, log = TABLE_GROUPS[GROUP], folder / "of_reports"
    read = read_table(load_mapping(folder / "reports.yaml"))
    tables = {"daily_bars": bars.rows, "reports": read.rows}
    found: dict[str, Any] = {"reports": read.report.counted, "restated": read.report.restated}
    for tail, until_ns in (("", now_ns - DAY_NS), ("day_", now_ns)):
        begun, spent = perf_counter(), processor_s()
        done = extend_table_log(log, group, tables, now_ns=until_ns)
        seconds = {"day_s" if tail else "whole_s": perf_counter() - begun}
        found |= {**seconds, f"{tail}processor_s": processor_s() - spent, f"{tail}rows": done.rows}
    begun = perf_counter()
    ends = written["date"] + pd.Timedelta(days=1)
    known = reports[reports["published"] <= ends.max()]
    theirs = _polars(pl.from_pandas(written.assign(ends=ends)), pl.from_pandas(known))
    found["polars_s"] = perf_counter() - begun
    ours = pl.read_parquet(log / "*.parquet").sort("symbol", "event_timestamp").group_by("symbol", maintain_order=True)
    found["most_difference"] = _most_difference(ours.last(), theirs)
    return found


def processor_s() -> float:
    """What this process has taken of all processors."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _reports(bars: pd.DataFrame) -> pd.DataFrame:
    drawn = np.random.default_rng(18)
    quarters = pd.date_range(bars["date"].min() - pd.Timedelta(days=500), bars["date"].max(), freq="QE")
    symbols = sorted(bars["ticker"].unique())
    count = len(quarters) * len(symbols)
    held = pd.DataFrame(
        {
            "ticker": np.repeat(symbols, len(quarters)),
            "quarter": np.tile(quarters, len(symbols)),
            "revenue": drawn.uniform(50.0, 150.0, count),
            "net_income": drawn.uniform(-2.0, 20.0, count),
            "equity": drawn.uniform(50.0, 150.0, count),
            "total_assets": drawn.uniform(200.0, 400.0, count),
            "total_debt": drawn.uniform(0.0, 100.0, count),
            "shares_outstanding": drawn.uniform(5.0, 50.0, count),
        }
    )
    held["published"] = held["quarter"] + pd.to_timedelta(drawn.integers(20, 60, count), unit="D")
    again = held.iloc[::RESTATED].copy()
    again["published"] += pd.Timedelta(days=60)
    again["net_income"] *= 0.8
    return pd.concat([held, again], ignore_index=True)


def _polars(bars: pl.DataFrame, reports: pl.DataFrame) -> pl.DataFrame:
    """The last day's features as they are at its end, from whole series of each quarter's newest word by then."""
    newest = reports.sort("published").group_by("ticker", "quarter").last().sort("ticker", "quarter")
    over = {"pe_ratio": pl.col("net_income").rolling_sum(4)}
    made = newest.with_columns(
        earned=over["pe_ratio"].over("ticker"),
        roe=over["pe_ratio"].over("ticker") / ((pl.col("equity") + pl.col("equity").shift(4).over("ticker")) / 2.0),
        debt_to_assets=pl.col("total_debt") / pl.col("total_assets"),
        revenue_growth=pl.col("revenue") / pl.col("revenue").shift(4).over("ticker") - 1.0,
    ).sort("published")
    # An older quarter that is restated after a newer one was published is not the newest.
    made = made.filter(pl.col("quarter") == pl.col("quarter").cum_max().over("ticker"))
    days = bars.sort("ticker", "date").with_columns(split=pl.col("split_ratio").cum_prod().over("ticker"))
    at_quarter = days.select("ticker", "date", of_quarter="split").sort("date")
    made = made.join_asof(at_quarter, left_on="quarter", right_on="date", by="ticker", check_sortedness=False)
    joined = days.sort("date").join_asof(
        made.drop("date"), left_on="ends", right_on="published", by="ticker", check_sortedness=False
    )
    splits = pl.col("split") / pl.col("of_quarter").fill_null(1.0)
    value = pl.col("close") * pl.col("shares_outstanding") * splits
    ratios = joined.with_columns(
        pe_ratio=pl.when(pl.col("earned") > 0.0).then(value / pl.col("earned")), pb_ratio=value / pl.col("equity")
    )
    return ratios.sort("date").group_by("ticker", maintain_order=True).last().sort("ticker")


def _most_difference(ours: pl.DataFrame, theirs: pl.DataFrame) -> float:
    most = 0.0
    for name in ("pe_ratio", "pb_ratio", "roe", "debt_to_assets", "revenue_growth"):
        one, other = (
            frame.sort(key)[name].fill_null(np.nan).to_numpy() for frame, key in ((ours, "symbol"), (theirs, "ticker"))
        )
        assert bool((np.isnan(one) == np.isnan(other)).all()), f"{name}: both must be known where one is"
        most = max(most, float(np.nanmax(np.abs(one - other) / np.maximum(np.abs(one), 1.0), initial=0.0)))
    return most
