"""Daily features of shares: twenty years of bars of five hundred from nothing, and one more day, against polars."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from time import perf_counter, sleep
from typing import Any, Final

import numpy as np
import pandas as pd
import polars as pl

from benchmarks.equity_reports import fundamentals, processor_s
from benchmarks.measure import Figure, in_child

SYMBOLS: Final = int(os.environ.get("FEATURE_SERVICE_BENCH_EQUITIES_SYMBOLS", "500"))
DAYS: Final = int(os.environ.get("FEATURE_SERVICE_BENCH_EQUITIES_DAYS", "5040"))
"""Twenty years of 252."""
FIRST_DAY: Final = date(2005, 1, 3)
GROUPS: Final = ("price_volume_features", "momentum_features", "liquidity_features")
MAPPING: Final = """
table: daily_bars
path: bars
key: ticker
event_time: date
time_zone: America/New_York
known_after: 975m
columns: {open: open, high: high, low: low, close: close, volume: volume, split_ratio: split_ratio, dividend: dividend}
"""


def run(folder: Path) -> Iterator[Figure]:
    measured = in_child(_measured, folder / "equities")
    size = f"{SYMBOLS} symbols x {DAYS} days"
    details = {
        "features": measured["features"],
        "processor_s": measured["processor_s"],
        "reading_s": measured["reading_s"],
        "most_difference": measured["most_difference"],
    }
    yield Figure(
        f"equities: {size}, from nothing",
        measured["whole_s"],
        "s",
        "lower",
        yardstick="polars expressions, Parquet to Parquet",
        yardstick_value=measured["polars_s"],
        goal="<= 60",
        details=details,
    )
    yield Figure(
        f"equities: {size}, one more day",
        measured["day_s"],
        "s",
        "lower",
        yardstick="polars expressions, all days again",
        yardstick_value=measured["polars_day_s"],
        goal="<= 1",
        details={"processor_s": measured["day_processor_s"], "rows": measured["day_rows"]},
    )

    reports = measured["reports"]
    yield Figure(
        f"equities: {SYMBOLS} symbols x {DAYS} days, fundamentals of quarterly reports",
        reports["whole_s"],
        "s",
        "lower",
        yardstick="polars as-of joins of the newest report, which know each restatement at once",
        yardstick_value=reports["polars_s"],
        details={name: reports[name] for name in ("processor_s", "rows", "reports", "restated", "most_difference")},
    )
    yield Figure(
        f"equities: {SYMBOLS} symbols x {DAYS} days, fundamentals, one more day",
        reports["day_s"],
        "s",
        "lower",
        details={"processor_s": reports["day_processor_s"], "rows": reports["day_rows"]},
    )


def _measured(folder: Path) -> dict[str, Any]:
    """Ours and polars, each from nothing and then with one more day; seconds, and how far both are apart."""
    from market.clock import DAY_NS, SystemClock, to_ns
    from storage.tables.computing import compute_groups
    from storage.tables.growing import GrowingTables
    from storage.tables.mapping import load_mapping
    from storage.tables.reading import read_table
    from transforms.equities.catalogue import TABLE_GROUPS

    bars, mapping = _bars(), folder / "daily_bars.yaml"
    newest = bars["date"].max()
    (folder / "bars").mkdir(parents=True)
    mapping.write_text(MAPPING)
    for year, of_year in bars[bars["date"] < newest].groupby(bars["date"].dt.year):
        of_year.to_parquet(folder / "bars" / f"{year}.parquet", index=False)
    declared, log, tables = load_mapping(mapping), folder / "log", GrowingTables(SystemClock())
    sleep(3)  # files that were written just now are read again
    now_ns = to_ns(newest.tz_localize("UTC").to_pydatetime())  # the newest day's bar is known in its evening
    found: dict[str, Any] = {"features": sum(len(TABLE_GROUPS[name].columns) for name in GROUPS)}

    def computed(tail: str, now_ns: int) -> dict[str, Any]:
        begun, spent = perf_counter(), processor_s()
        _, done = compute_groups([declared], log, now_ns=now_ns, tables=tables)
        taken = {f"{tail}_s": perf_counter() - begun, f"{tail}_processor_s": processor_s() - spent}
        return {**taken, f"{tail}_rows": sum(done[name].rows for name in GROUPS)}

    found |= computed("whole", now_ns)
    found["processor_s"] = found.pop("whole_processor_s")
    begun = perf_counter()
    read_table(declared)
    found["reading_s"] = perf_counter() - begun
    found["polars_s"] = _polars(folder)
    bars[bars["date"] == newest].to_parquet(folder / "bars" / f"{newest:%Y_%m_%d}.parquet", index=False)
    found |= computed("day", now_ns + DAY_NS)
    found["polars_day_s"] = _polars(folder)
    found["most_difference"] = _most_difference(folder)
    found["reports"] = fundamentals(folder, tables.read(declared), bars, now_ns + DAY_NS)
    return found


def _bars() -> pd.DataFrame:
    """Random walks with a split each, and a dividend a quarter."""
    drawn = np.random.default_rng(17)
    days = pd.bdate_range(FIRST_DAY, periods=DAYS + 1)
    count = len(days)
    frames = []
    for number in range(SYMBOLS):
        split_ratio, dividend = np.ones(count), np.zeros(count)
        split_ratio[drawn.integers(1, count)] = 2.0
        dividend[62::63] = 0.2
        walk = np.cumsum(drawn.normal(3e-4, 0.015, count))
        close = np.round(1.0 + 80.0 * np.exp(walk) / np.cumprod(split_ratio), 2)
        high = np.round(close * (1.0 + drawn.exponential(0.007, count)), 2)
        low = np.round(close * (1.0 - np.minimum(drawn.exponential(0.007, count), 0.5)), 2)
        columns = {"open": low, "high": high, "low": low, "close": close}
        volume = drawn.integers(100_000, 10_000_000, count).astype(np.float64)
        others = {"volume": volume, "split_ratio": split_ratio, "dividend": dividend}
        frames.append(pd.DataFrame({"ticker": f"S{number:03d}", "date": days, **columns, **others}))
    return pd.concat(frames, ignore_index=True)


def _polars(folder: Path) -> float:
    """Seconds from Parquet to Parquet by polars, on all cores."""
    begun = perf_counter()
    bars = pl.scan_parquet(folder / "bars" / "*.parquet").sort("ticker", "date")
    _features(bars).collect().write_parquet(folder / "polars.parquet")
    return perf_counter() - begun


def _prepared(bars: pl.LazyFrame) -> pl.LazyFrame:
    """What several features are made of: prices in the shares of the last day of all, which knows every split."""
    close, ratio, dividend, volume = (pl.col(each) for each in ("close", "split_ratio", "dividend", "volume"))
    shares = ratio.cum_prod().over("ticker")
    bars = bars.with_columns(
        r=(close + dividend) * ratio / close.shift().over("ticker") - 1.0,
        shares=shares,
        adjusted=close * shares,
        adjusted_high=pl.col("high") * shares,
        adjusted_low=pl.col("low") * shares,
        adjusted_volume=volume / shares,
    )
    bars = bars.with_columns(
        growth=(1.0 + pl.col("r").fill_null(0.0)).cum_prod().over("ticker"),
        log_r=pl.col("r").log1p(),
        illiquidity=pl.col("r").abs() / (close * volume) * 1e6,
        change=pl.col("adjusted").diff().over("ticker"),
        line=_average("adjusted", 12) - _average("adjusted", 26),
        spread=_spread(),
        day=pl.int_range(pl.len()).over("ticker").cast(pl.Float64),
    )
    return bars.with_columns(
        amihud_illiquidity=pl.col("illiquidity").rolling_mean(21).over("ticker"),
        gain=pl.col("change").clip(0.0).ewm_mean(alpha=1 / 14, adjust=False).over("ticker"),
        loss=(-pl.col("change")).clip(0.0).ewm_mean(alpha=1 / 14, adjust=False).over("ticker"),
        signal=_average("line", 9),
        correlation=pl.rolling_corr("day", pl.col("adjusted").log(), window_size=63).over("ticker"),
    )


def _features(bars: pl.LazyFrame) -> pl.LazyFrame:
    """The same features from whole series: averages reach back to the first day, a regime's thirds are quantiles."""
    amihud = pl.col("amihud_illiquidity")
    third, two_thirds = (amihud.rolling_quantile(share, window_size=252).over("ticker") for share in (1 / 3, 2 / 3))
    in_last = 1.0 / pl.col("shares")
    nothing = pl.lit(None, pl.Float64)
    return _prepared(bars).select(
        "ticker",
        "date",
        close_price=pl.col("close"),
        vwap=nothing,
        volume=pl.col("volume"),
        **{f"returns_{days}d": _growth(days) for days in (1, 5, 20)},
        volatility_20d=pl.col("log_r").rolling_std(20).over("ticker") * 252**0.5,
        volume_ratio=pl.col("adjusted_volume") / pl.col("adjusted_volume").shift().rolling_mean(20).over("ticker"),
        rsi_14=100.0 * pl.col("gain") / (pl.col("gain") + pl.col("loss")),
        macd=pl.col("line") * in_last,
        macd_signal=pl.col("signal") * in_last,
        macd_histogram=(pl.col("line") - pl.col("signal")) * in_last,
        trend_strength=pl.col("correlation") * pl.col("correlation").abs(),
        **{f"momentum_{months}m": _growth(21 * months) for months in (1, 3, 6, 12)},
        high_52w_position=pl.col("adjusted") / pl.col("adjusted_high").rolling_max(252).over("ticker"),
        low_52w_position=pl.col("adjusted") / pl.col("adjusted_low").rolling_min(252).over("ticker"),
        bid_ask_spread_bps=pl.col("spread").rolling_mean(21).over("ticker") * 1e4,
        market_depth=nothing,
        turnover_ratio=nothing,
        amihud_illiquidity=amihud,
        price_impact_1pct=pl.col("log_r").rolling_std(21).over("ticker") * 0.1 * 1e4,
        liquidity_regime=pl.when(amihud <= third).then(2.0).when(amihud > two_thirds).then(0.0).otherwise(1.0),
    )


def _growth(days: int) -> pl.Expr:
    growth = pl.col("growth")
    return growth / growth.shift(days).over("ticker") - 1.0


def _average(name: str, span: int) -> pl.Expr:
    return pl.col(name).ewm_mean(span=span, adjust=False).over("ticker")


def _spread() -> pl.Expr:
    """Corwin and Schultz's of a day and the day before."""
    before, high_before, low_before = (
        pl.col(name).shift().over("ticker") for name in ("adjusted", "adjusted_high", "adjusted_low")
    )
    high, low = pl.col("adjusted_high"), pl.col("adjusted_low")
    gap = (before - high).clip(0.0) - (low - before).clip(0.0)
    high, low = high + gap, low + gap
    days = (high_before / low_before).log() ** 2 + (high / low).log() ** 2
    both = (pl.max_horizontal(high_before, high) / pl.min_horizontal(low_before, low)).log() ** 2
    k = 3.0 - 2.0 * 2.0**0.5
    alpha = ((2.0 * days).sqrt() - days.sqrt()) / k - (both / k).sqrt()
    return pl.Expr.clip(2.0 * (alpha / 2.0).tanh(), 0.0)


def _most_difference(folder: Path) -> float:
    """Of the last day's features but the regime, relative to the larger of value and 1."""
    theirs = pl.read_parquet(folder / "polars.parquet").filter(pl.col("date") == pl.col("date").max()).sort("ticker")
    most = 0.0
    for group in GROUPS:
        ours = pl.read_parquet(folder / "log" / group / "*" / "*.parquet")
        ours = ours.filter(pl.col("event_timestamp") == pl.col("event_timestamp").max()).sort("symbol")
        for name in set(ours.columns) & set(theirs.columns) - {"liquidity_regime"}:
            one, other = (each[name].fill_null(np.nan).to_numpy() for each in (ours, theirs))
            assert bool((np.isnan(one) == np.isnan(other)).all()), f"{name}: both must be known where one is"
            apart = np.abs(one - other) / np.maximum(np.abs(one), 1.0)
            most = max(most, float(np.nanmax(apart, initial=0.0)))
    return most
