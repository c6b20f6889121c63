"""A model that reads later gets, without a rebuild, the rows and labels of a service whose rows come so much later."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from feature_repo.registry_versions import load_registry_version
from market.clock import MILLISECOND_NS, MINUTE_NS, SECOND_NS, parse_iso_ns
from storage.features.log import FeatureLogWriter
from tests.build_places import UNGATED, place_in
from training_sets.builds.builder import build_dataset
from training_sets.request.folds import TimeBased, default_periods
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import RegressionTarget
from transforms.rows import FeatureRows

START_NS = parse_iso_ns("2026-01-05T12:00:00")
DURATION_NS = 4 * MINUTE_NS
DELAY_NS = 50 * MILLISECOND_NS
FEATURES = load_registry_version("1.0.0").feature_set
COUNT = DURATION_NS // SECOND_NS + 70
REQUEST = DatasetRequest(
    symbols=("BTCUSDT",),
    strategy=TimeBased(default_periods(START_NS, START_NS + DURATION_NS)),
    targets=(RegressionTarget(3 * SECOND_NS),),
    registry_version="1.0.0",
    check_leakage=False,  # the columns are drawn, not computed
)
DRAW = np.random.default_rng(11)
# Rows that come just before, at and after the moment from which the delay moves the entry to the next second.
LAG_NS = DRAW.choice(
    np.array([20 * MILLISECOND_NS, SECOND_NS - DELAY_NS - 1, SECOND_NS - DELAY_NS, 980 * 10**6]), COUNT
)
MIDS = 100.0 * np.exp(np.cumsum(DRAW.standard_normal(COUNT) * 0.002))
VALUES = DRAW.uniform(0.1, 0.9, (COUNT, len(FEATURES.columns)))


def write_log(folder: Path, *, later_ns: int) -> None:
    row_ns = START_NS + np.arange(COUNT) * SECOND_NS
    values = VALUES.copy()
    values[:, FEATURES.columns.index("mid_price")] = MIDS
    with FeatureLogWriter(folder / "features") as log:
        status = np.zeros((COUNT, len(FEATURES.groups)), np.int8)
        log.append(FeatureRows("BTCUSDT", FEATURES, row_ns, values, status), row_ns + LAG_NS + later_ns)


def test_a_delayed_reader_has_the_rows_and_labels_of_a_later_service(tmp_path: Path, kernel_cache: Path) -> None:
    for name, later_ns in (("as_it_was", 0), ("later", DELAY_NS)):
        (tmp_path / name).mkdir()
        write_log(tmp_path / name, later_ns=later_ns)
    was, later = (place_in(tmp_path / name, kernel_cache, rules=UNGATED) for name in ("as_it_was", "later"))
    at_once = build_dataset(REQUEST, was, tmp_path / "at_once")
    delayed = build_dataset(dataclasses.replace(REQUEST, read_delay_ns=DELAY_NS), was, tmp_path / "delayed")
    truly = build_dataset(REQUEST, later, tmp_path / "truly")
    assert delayed.days_computed == 0
    moved = 0
    for split in ("train", "validation", "test"):
        files = [each.path / f"{split}.parquet" for each in (at_once, delayed, truly)]
        assert files[1].read_bytes() == files[2].read_bytes()
        undelayed, table = (pq.read_table(file).to_pandas().set_index("timestamp") for file in files[:2])
        second = ((table.index.astype("int64") - START_NS) // SECOND_NS).to_numpy()
        acted = second + (LAG_NS[second] + DELAY_NS) // SECOND_NS
        np.testing.assert_array_equal(table["target"].to_numpy(), MIDS[acted + 3] / MIDS[acted] - 1.0)
        both = table.index.intersection(undelayed.index)
        names = list(FEATURES.columns)
        assert table.loc[both, names].to_numpy().tobytes() == undelayed.loc[both, names].to_numpy().tobytes()
        moved += int((table.loc[both, "target"] != undelayed.loc[both, "target"]).sum())
    assert 80 < moved < 200
