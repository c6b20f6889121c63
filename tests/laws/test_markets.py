"""The laws are about values: the seeded markets make every column known and show every pattern and its absence."""

from __future__ import annotations

import numpy as np
import pytest

from market.clock import MINUTE_NS
from tests.laws.columns import feature_of
from tests.laws.markets import WARM_NS, warm_market
from tests.laws.running import run
from transforms.kernel import Kernel
from transforms.rows import FeatureRows


@pytest.fixture(scope="module")
def warm_rows(kernel: Kernel) -> FeatureRows:
    return run(kernel, warm_market(), WARM_NS + 2 * MINUTE_NS)


def test_every_column_is_known_when_every_window_is_full(warm_rows: FeatureRows) -> None:
    unknown_rows = np.isnan(warm_rows.values[warm_rows.row_ns > WARM_NS]).sum(axis=0).tolist()
    columns = warm_rows.feature_set.columns
    assert [name for name, count in zip(columns, unknown_rows, strict=True) if count == 2 * 60] == []


def test_every_pattern_is_seen_and_its_absence_too(warm_rows: FeatureRows) -> None:
    columns = warm_rows.feature_set.columns
    patterns = [name for name in columns if feature_of(name).group == "candles" and feature_of(name).name == name]
    seen = {name: set(warm_rows.values[:, columns.index(name)].tolist()) for name in patterns}
    assert [name for name in patterns if not {0.0, 1.0} <= seen[name]] == []
    assert len(patterns) == 83
