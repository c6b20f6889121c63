"""Why values are unknown is what the log says of their groups, of the rows and columns that lack one alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_repo.registry_versions import load_registry_version
from market.clock import DAY_NS, MINUTE_NS, SECOND_NS, parse_iso_ns
from quality.profile import TableProfile
from storage.features.log import FeatureLog, FeatureLogWriter
from storage.features.statuses import NO_ROW, read_statuses
from training_sets.dataset.missing_reasons import MOST_DATES, missing_reasons
from training_sets.request.folds import TimeBased, default_periods
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import RegressionTarget
from training_sets.samples.columns import DatasetFeatures
from transforms.rows import FeatureRows, FeatureSet
from transforms.status import GAP, OK, WARMUP

START_NS = parse_iso_ns("2026-01-05T12:00:00")
FEATURES = load_registry_version("1.0.0").feature_set
OF_VERSION = DatasetFeatures.of_version(FEATURES)
SYMBOLS = ("BTCUSDT", "ETHUSDT")
REQUEST = DatasetRequest(
    symbols=SYMBOLS,
    strategy=TimeBased(default_periods(START_NS, START_NS + 10 * MINUTE_NS)),
    targets=(RegressionTarget(5 * SECOND_NS),),
    registry_version="1.0.0",
)
ROWS = 60


def write(
    folder: Path, symbol: str, values: npt.NDArray[Any], status: npt.NDArray[Any], *, from_ns: int = START_NS
) -> None:
    row_ns = START_NS + np.arange(len(values)) * SECOND_NS
    with FeatureLogWriter(folder) as log:
        log.append(FeatureRows(symbol, FEATURES, row_ns, values, status), row_ns + 1)


def profile_of(tables: list[npt.NDArray[Any]], chosen: FeatureSet) -> TableProfile:
    """Of the rows of each symbol, with a label."""
    columns = [*chosen.columns, "target"]
    profile = TableProfile(columns, np.full(len(columns), -np.inf), np.full(len(columns), np.inf))
    of_time = [np.concatenate([values, np.zeros((len(values), 1))], axis=1) for values in tables]
    times_ns = np.repeat(START_NS + np.arange(len(tables[0])) * SECOND_NS, len(tables))
    profile.add(times_ns, np.stack(of_time, axis=1).reshape(-1, len(columns)), np.tile(np.arange(len(tables)), ROWS))
    return profile


def test_each_unknown_value_has_the_status_of_its_group_in_its_row(tmp_path: Path) -> None:
    one, other = FEATURES.groups[0], FEATURES.groups[1]
    first, second = FEATURES.columns.index(one.columns[0]), FEATURES.columns.index(other.columns[-1])
    tables = [np.ones((ROWS, len(FEATURES.columns))) for _ in SYMBOLS]
    statuses = [np.full((ROWS, len(FEATURES.groups)), OK, np.int8) for _ in SYMBOLS]
    tables[0][:10, first], statuses[0][:10, 0] = np.nan, WARMUP
    tables[0][10:15, first] = np.nan
    tables[1][20:27, second], statuses[1][20:27, 1] = np.nan, GAP
    # Of a group in a gap whose values are known: nothing is missing.
    statuses[0][40:50, 1] = GAP
    for symbol, values, status in zip(SYMBOLS, tables, statuses, strict=True):
        write(tmp_path, symbol, values, status)
    found = missing_reasons(REQUEST, OF_VERSION, profile_of(tables, FEATURES), FeatureLog(tmp_path))
    assert found == {
        "rows": 22,
        "by_column": {one.columns[0]: {"UNDEFINED": 5, "WARMUP": 10}, other.columns[-1]: {"GAP": 7}},
    }
    asked = dataclasses.replace(REQUEST, sample_kind="at_time")
    assert missing_reasons(asked, OF_VERSION, profile_of(tables, FEATURES), FeatureLog(tmp_path)) is None
    whole = [np.ones((ROWS, len(FEATURES.columns))) for _ in SYMBOLS]
    assert missing_reasons(REQUEST, OF_VERSION, profile_of(whole, FEATURES), FeatureLog(tmp_path / "none")) == {
        "rows": 0,
        "by_column": {},
    }


def test_a_row_that_was_written_again_has_its_later_status_and_one_that_is_not_there_has_none(tmp_path: Path) -> None:
    values, group = np.ones((3, len(FEATURES.columns))), FEATURES.groups[0]
    for at, status in enumerate((WARMUP, OK)):
        row_ns = START_NS + np.arange(3) * SECOND_NS
        with FeatureLogWriter(tmp_path) as log:
            statuses = np.full((3, len(FEATURES.groups)), status, np.int8)
            log.append(FeatureRows("BTCUSDT", FEATURES, row_ns, values, statuses), row_ns + 1 + at)
    asked_ns = START_NS + np.array([0, 1, 1, 9]) * SECOND_NS - np.array([1, 0, 0, 0])
    assert read_statuses(FeatureLog(tmp_path), "BTCUSDT", group, asked_ns).tolist() == [NO_ROW, OK, OK, NO_ROW]
    assert read_statuses(FeatureLog(tmp_path), "XUSDT", group, asked_ns).tolist() == [NO_ROW] * 4


def test_of_many_dates_a_bounded_number_is_read(tmp_path: Path) -> None:
    request = dataclasses.replace(REQUEST, symbols=("BTCUSDT",))
    columns = [*FEATURES.columns, "target"]
    profile = TableProfile(columns, np.full(len(columns), -np.inf), np.full(len(columns), np.inf))
    times_ns = START_NS + np.arange(30) * DAY_NS
    profile.add(times_ns, np.full((30, len(columns)), np.nan), np.zeros(30, np.int64))
    found = missing_reasons(request, OF_VERSION, profile, FeatureLog(tmp_path))
    assert found is not None
    assert MOST_DATES / 2 < found["rows"] <= MOST_DATES
    assert found["by_column"][FEATURES.columns[0]] == {"NOT_LOGGED": found["rows"]}
    # One more date is no reason to look at others.
    profile.add(times_ns[-1:] + DAY_NS, np.full((1, len(columns)), np.nan), np.zeros(1, np.int64))
    later = missing_reasons(request, OF_VERSION, profile, FeatureLog(tmp_path))
    assert later is not None
    assert later["rows"] - found["rows"] in {0, 1}
