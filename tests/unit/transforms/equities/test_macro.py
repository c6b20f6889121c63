"""Macro features against plain pandas on real series: the S&P 500, VIX and the yields of corporate bonds."""

from __future__ import annotations

import arch.data.default
import arch.data.sp500
import arch.data.vix
import numpy as np
import pandas as pd
import pytest

from market.clock import DAY_NS
from transforms.equities.catalogue import TABLE_GROUPS
from transforms.known_rows import KnownRows
from transforms.table_group import ALL, Tables

GROUP = TABLE_GROUPS["macro_features"]
NAMES = [each.name for each in GROUP.columns]
CLOSE_NS = 21 * 3600 * 10**9


def known(values: pd.Series[float], lag_ns: int) -> KnownRows:
    event = pd.DatetimeIndex(values.index).as_unit("ns").astype(np.int64).to_numpy()
    return KnownRows(event, event + lag_ns, {"value": np.asarray(values, np.float64)})


@pytest.fixture(scope="module")
def sources() -> dict[str, pd.Series[float]]:
    spy = arch.data.sp500.load()["Adj Close"]["2013-06":"2016-12"]
    bonds = arch.data.default.load()["2013":"2016"]
    return {"SPY": spy, "VIX": arch.data.vix.load()["vix"].dropna()[:"2016"], "AAA": bonds["AAA"], "BAA": bonds["BAA"]}


@pytest.fixture(scope="module")
def tables(sources: dict[str, pd.Series[float]]) -> Tables:
    lags = {"AAA": 38 * DAY_NS, "BAA": 38 * DAY_NS}
    return {"macro_series": {key: known(values, lags.get(key, CLOSE_NS)) for key, values in sources.items()}}


@pytest.fixture(scope="module")
def computed(tables: Tables) -> pd.DataFrame:
    rows = GROUP.computed(tables, until_ns=pd.Timestamp("2016-12-31").value)[ALL]
    return pd.DataFrame(rows.values, columns=NAMES, index=pd.DatetimeIndex(rows.created_ns))


def of_days(
    computed: pd.DataFrame, days: pd.Index[pd.Timestamp], name: str
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return computed[name].reindex(pd.DatetimeIndex(days) + pd.Timedelta(CLOSE_NS)).to_numpy()


def test_returns_volatility_and_regime_are_those_of_pandas(
    sources: dict[str, pd.Series[float]], computed: pd.DataFrame
) -> None:
    spy, vix = sources["SPY"], sources["VIX"]
    for days in (1, 5, 20):
        np.testing.assert_allclose(
            of_days(computed, spy.index, f"spy_returns_{days}d"), spy.pct_change(days), atol=1e-12
        )
    volatility = pd.Series(np.log(spy / spy.shift())).rolling(20).std() * 252**0.5
    np.testing.assert_allclose(of_days(computed, spy.index, "spy_volatility_20d"), volatility, rtol=1e-9)
    np.testing.assert_array_equal(of_days(computed, vix.index, "vix"), vix)
    common = spy.index.intersection(vix.index)
    is_rising = (spy > spy.rolling(200).mean())[common]
    median = vix.rolling(252).median()[common]
    regime = is_rising.astype(float) + (vix[common] <= median).astype(float)
    np.testing.assert_array_equal(of_days(computed, common, "market_regime"), regime.where(median.notna()))
    assert set(regime[median.notna()]) == {0.0, 1.0, 2.0}


def test_a_month_s_yield_is_known_when_it_was_published_and_old_when_none_follows(
    sources: dict[str, pd.Series[float]], computed: pd.DataFrame
) -> None:
    spread = (sources["BAA"] - sources["AAA"])["2014-03-01"]
    moment = pd.Timestamp("2014-03-01") + pd.Timedelta(days=38)
    assert computed["credit_spread"][moment] == pytest.approx(spread)
    assert computed["credit_spread"][:moment].iloc[-2] != pytest.approx(spread)
    assert computed["vix"]["2016-12-30":].iloc[-1] == sources["VIX"].iloc[-1]


def test_a_series_that_stopped_is_not_known_after_a_week(tables: Tables) -> None:
    rows = GROUP.computed(tables, until_ns=pd.Timestamp("2017-12-31").value)[ALL]
    assert np.isnan(rows.values[-1]).all()
    vix = rows.values[:, NAMES.index("vix")]
    last = rows.created_ns[np.flatnonzero(~np.isnan(vix))[-1] + 1]
    assert last == pd.Timestamp("2016-12-30").value + 7 * DAY_NS


def test_what_no_table_gives_is_not_known(computed: pd.DataFrame) -> None:
    absent = ["term_spread", "treasury_yield_3m", "treasury_yield_2y", "treasury_yield_10y"]
    assert computed[absent].isna().all().all()
    for each in GROUP.features:
        assert computed[each.name].dropna().between(each.low, each.high).all(), each.name
