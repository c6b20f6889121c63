"""Drawn feature rows of some minutes, and a request for a dataset of them."""

from __future__ import annotations

from typing import Final

import numpy as np

from feature_repo.registry_versions import load_registry_version
from market.clock import MINUTE_NS, SECOND_NS, parse_iso_ns
from storage.features.log import FeatureLogWriter
from storage.places import Place
from training_sets.request.folds import PurgedCombinations
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import RegressionTarget
from transforms.rows import FeatureRows

START_NS: Final = parse_iso_ns("2026-01-05T12:00:00")
DURATION_NS: Final = 8 * MINUTE_NS
FEATURES: Final = load_registry_version("1.0.0").feature_set
REQUEST: Final = DatasetRequest(
    symbols=("BTCUSDT",),
    strategy=PurgedCombinations(START_NS, START_NS + DURATION_NS, groups=3, test_groups=1),
    targets=(RegressionTarget(4 * SECOND_NS),),
    registry_version="1.0.0",
    check_leakage=False,  # the columns are drawn, not computed
)


def log_drawn_rows(log: Place) -> None:
    """Write the rows, of which the price walks."""
    draw = np.random.default_rng(7)
    count = DURATION_NS // SECOND_NS + 70
    row_ns = START_NS + np.arange(count) * SECOND_NS
    values = draw.uniform(0.1, 0.9, (count, len(FEATURES.columns)))
    values[:, FEATURES.columns.index("mid_price")] = 100.0 * np.exp(np.cumsum(draw.standard_normal(count) * 0.002))
    with FeatureLogWriter(log) as writer:
        status = np.zeros((count, len(FEATURES.groups)), np.int8)
        writer.append(FeatureRows("BTCUSDT", FEATURES, row_ns, values, status), row_ns + 20_000_000)
