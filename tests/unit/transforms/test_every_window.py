"""A function called once for all windows gives the bits of a call for each, on real bars and on broken ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from storage.tables.mapping import load_mapping
from storage.tables.reading import read_table
from transforms.equities.catalogue import TABLE_GROUPS
from transforms.every_window import values_of
from transforms.table_feature import TableFeature, Window

MAPPING = Path(__file__).parents[3] / "runtime" / "example_tables" / "daily_bars.yaml"
FEATURES = [
    each
    for group in TABLE_GROUPS.values()
    if group.is_of_rows
    for each in group.features
    if each.function.__module__.startswith("transforms.")
]
BARS = 1400
"""More than the 1024 windows that are computed at a time, with both splits of AAPL."""


@pytest.fixture(scope="module")
def real() -> Mapping[str, Any]:
    columns = read_table(load_mapping(MAPPING)).rows["AAPL"].columns
    others = {
        "vwap": columns["close"],
        "market_depth": columns["volume"] / 7,
        "shares_outstanding": columns["volume"] * 11,
    }
    return {name: held[:BARS] for name, held in {**columns, **others}.items()}


@pytest.fixture(scope="module")
def broken(real: Mapping[str, Any]) -> Mapping[str, Any]:
    """Bars that say what a source may: nothing traded, prices that are 0, stand still or leap, splits, both zeros."""
    drawn = np.random.default_rng(5)
    columns = {name: held.copy() for name, held in real.items()}
    for name in ("close", "high", "low", "open", "volume"):
        columns[name][300:420] = columns[name][300]
        columns[name][drawn.integers(0, BARS, 4)] = 0.0
    columns["close"][drawn.integers(0, BARS, 6)] *= 1e6
    columns["split_ratio"][drawn.integers(500, BARS, 12)] = drawn.choice([0.1, 0.5, 3.0, 7.0], 12)
    columns["dividend"][drawn.integers(0, BARS, 20)] = -0.0
    for held in columns.values():
        held[drawn.integers(0, 60, 2)] = np.nan
    return columns


def one_by_one(feature: TableFeature, columns: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    """Its value after each bar, on a call for each window."""
    series = [columns[name] for name in feature.columns]
    values = np.full(BARS, np.nan)
    for end in range(feature.rows, BARS + 1):
        seen = [each[end - feature.rows : end] for each in series]
        if not np.isnan(seen).any():
            with np.errstate(all="ignore"):
                values[end - 1] = feature.of(seen)
    return values


@pytest.mark.parametrize("bars", ["real", "broken"])
@pytest.mark.parametrize("feature", FEATURES, ids=lambda each: each.name)
def test_values_have_the_bits_of_a_call_for_each_window(
    feature: TableFeature, bars: str, request: pytest.FixtureRequest
) -> None:
    columns = request.getfixturevalue(bars)
    found = feature.values(columns, np.arange(1, BARS + 1))
    assert found.view(np.int64).tolist() == one_by_one(feature, columns).view(np.int64).tolist()
    assert np.isfinite(found).any()


@pytest.mark.parametrize("feature", FEATURES, ids=lambda each: each.name)
def test_our_features_need_no_call_for_each_window(feature: TableFeature, broken: Mapping[str, Any]) -> None:
    columns = [broken[name] for name in feature.columns]
    with np.errstate(all="ignore"):
        assert (
            values_of(feature.function, columns, np.arange(feature.rows, BARS + 1), feature.rows, feature.parameters)
            is not None
        )


def test_a_function_of_others_is_called_for_each_window(real: Mapping[str, Any]) -> None:
    calls = []

    def counted(close: npt.NDArray[np.float64]) -> float:
        calls.append(len(close))
        return float(close[-1])

    feature = TableFeature("n", "g", counted, {"close": Window("t", "close", 3)}, {}, "1", 0.0, 1.0, "", "", "")
    found = feature.values(real, np.arange(1, 101))
    assert calls == [3] * 98
    assert found[2:].tolist() == real["close"][2:100].tolist()
