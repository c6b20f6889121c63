"""The groups over daily bars against plain pandas on real bars with their splits, and against cases by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import talib

from storage.tables.mapping import load_mapping
from storage.tables.reading import read_table
from transforms.equities.catalogue import TABLE_GROUPS
from transforms.known_rows import KnownRows, computed_rows

FOLDER = Path(__file__).parents[4] / "runtime" / "example_tables"
FEATURES = [each for group in TABLE_GROUPS.values() if group.is_of_rows for each in group.features]
FIRST_DAYS = 1500
"""Of AAPL: both of its splits are among them."""


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    frame = pd.read_csv(FOLDER / "daily_bars.csv.gz")
    return frame[frame["ticker"] == "AAPL"].head(FIRST_DAYS).reset_index(drop=True)


@pytest.fixture(scope="module")
def computed() -> pd.DataFrame:
    rows = read_table(load_mapping(FOLDER / "daily_bars.yaml")).rows["AAPL"]
    cut = KnownRows(
        rows.event_ns[:FIRST_DAYS],
        rows.known_ns[:FIRST_DAYS],
        {name: held[:FIRST_DAYS] for name, held in rows.columns.items()},
    )
    return pd.DataFrame(computed_rows(cut, FEATURES).values, columns=[each.name for each in FEATURES])


def close_to(found: pd.Series[float], expected: pd.Series[float], rtol: float = 1e-9) -> None:
    np.testing.assert_allclose(found.to_numpy(), expected.to_numpy(), rtol=rtol, atol=1e-12)


def test_returns_are_those_of_the_adjusted_close_whose_adjustments_come_later(
    bars: pd.DataFrame, computed: pd.DataFrame
) -> None:
    """The adjusted close knows every later split: its returns do not, and ours are made without it."""
    adjusted = bars["adj_close"]
    for name, days in {
        "returns_1d": 1,
        "returns_5d": 5,
        "returns_20d": 20,
        "momentum_1m": 21,
        "momentum_12m": 252,
    }.items():
        np.testing.assert_allclose(computed[name], adjusted.pct_change(days), rtol=0, atol=2e-5)
    volatility = pd.Series(np.log(adjusted / adjusted.shift())).rolling(20).std() * 252**0.5
    np.testing.assert_allclose(computed["volatility_20d"], volatility, rtol=1e-3)


def test_prices_and_volumes_of_a_window_are_in_the_shares_of_its_last_day(
    bars: pd.DataFrame, computed: pd.DataFrame
) -> None:
    later = bars["split_ratio"][::-1].cumprod()[::-1].shift(-1, fill_value=1)
    close, high, low = (bars[name] / later for name in ("close", "high", "low"))
    volume = bars["volume"] * later
    close_to(computed["volume_ratio"], volume / volume.rolling(20).mean().shift())
    close_to(computed["high_52w_position"], close / high.rolling(252).max())
    close_to(computed["low_52w_position"], close / low.rolling(252).min())
    days = pd.Series(np.arange(63.0))
    straight = pd.Series(np.log(close)).rolling(63).apply(lambda prices: np.corrcoef(days, prices)[0, 1], raw=True)
    close_to(computed["trend_strength"], straight * straight.abs(), rtol=1e-7)
    assert computed["close_price"].equals(bars["close"])
    assert computed["volume"].equals(bars["volume"].astype(float))


def test_indicators_are_those_of_ta_lib_on_each_window(bars: pd.DataFrame, computed: pd.DataFrame) -> None:
    for last in (400, 1254, 1260, 1499):
        later = bars["split_ratio"][: last + 1][::-1].cumprod()[::-1].shift(-1, fill_value=1)
        close = (bars["close"][: last + 1] / later).to_numpy()
        row = computed.iloc[last]
        assert row["rsi_14"] == pytest.approx(talib.RSI(close[-141:], 14)[-1], rel=1e-9)
        line, signal, histogram = (series[-1] for series in talib.MACD(close[-350:], 12, 26, 9))
        assert [row["macd"], row["macd_signal"], row["macd_histogram"]] == pytest.approx(
            [line, signal, histogram], rel=1e-7
        )


def test_liquidity_is_that_of_plain_pandas(bars: pd.DataFrame, computed: pd.DataFrame) -> None:
    ratio, dividend = bars["split_ratio"], bars["dividend"]
    returns = (bars["close"] + dividend) * ratio / bars["close"].shift() - 1
    daily = returns.abs() / (bars["close"] * bars["volume"]) * 1e6
    amihud = daily.rolling(21).mean()
    close_to(computed["amihud_illiquidity"], amihud)
    close_to(computed["price_impact_1pct"], np.log(1 + returns).rolling(21).std() * 1000)
    rank = amihud.rolling(252).rank(method="max") / 252
    expected = pd.Series(np.where(rank <= 1 / 3, 2.0, np.where(rank > 2 / 3, 0.0, 1.0))).where(rank.notna())
    close_to(computed["liquidity_regime"], expected)
    # Corwin and Schultz, a pair of days at a time.
    at = 500
    spreads = []
    for day in range(at - 20, at + 1):
        high, low, before = bars["high"], bars["low"], bars["close"][day - 1]
        gap = before - high[day] if before > high[day] else before - low[day] if before < low[day] else 0.0
        highs, lows = (high[day - 1], high[day] + gap), (low[day - 1], low[day] + gap)
        beta = sum(np.log(one / other) ** 2 for one, other in zip(highs, lows, strict=True))
        gamma = np.log(max(highs) / min(lows)) ** 2
        k = 3 - 2 * np.sqrt(2)
        alpha = (np.sqrt(2 * beta) - np.sqrt(beta)) / k - np.sqrt(gamma / k)
        spreads.append(max(0.0, 2 * (np.exp(alpha) - 1) / (1 + np.exp(alpha))))
    assert computed["bid_ask_spread_bps"][at] == pytest.approx(np.mean(spreads) * 1e4, rel=1e-9)


def test_what_no_source_gives_is_not_known(computed: pd.DataFrame) -> None:
    absent = ["vwap", "market_depth", "turnover_ratio"]
    assert computed[absent].isna().all().all()
    first = {
        each.name: int(computed[each.name].notna().to_numpy().argmax()) for each in FEATURES if each.name not in absent
    }
    assert first == {each.name: each.rows - 1 for each in FEATURES if each.name not in absent}
    assert not computed.drop(columns=absent).iloc[400:].isna().any().any()


def test_values_are_in_their_range(computed: pd.DataFrame) -> None:
    for each in FEATURES:
        assert computed[each.name].dropna().between(each.low, each.high).all(), each.name


def test_a_split_and_a_dividend_by_hand() -> None:
    """100, then two shares at 51, for each of which 1 was paid: 2 * (51 + 1) / 100 - 1 = 4 %; the day after nothing."""
    columns = {
        "close": np.array([100.0, 51.0, 51.0]),
        "split_ratio": np.array([1.0, 2.0, 1.0]),
        "dividend": np.array([0.0, 1.0, 0.0]),
        "volume": np.array([1.0, 2.0, 3.0]),
    }
    times = np.arange(3, dtype=np.int64)
    features = TABLE_GROUPS["price_volume_features"].features
    found = computed_rows(KnownRows(times, times, columns), features)
    assert found.values[:, 3] == pytest.approx([np.nan, 0.04, 0.0], nan_ok=True)
