"""A dataset's profile is compared with the rows of the feature log, and each split with another."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feature_repo.registry_versions import SHIPPED_FOLDER, load_registry_version
from market.clock import SECOND_NS, format_iso, to_ns
from market.errors import Conflict, InvalidRequest, NotFound
from quality.drift import USUAL_LIMITS
from quality.profile import TableProfile
from storage.database.dataset_records import DatasetRecord
from storage.features.log import FeatureLog, FeatureLogWriter
from storage.places import local
from training_sets.dataset.drift import ServedDrift, split_drift, write_profile
from training_sets.dataset.manifest import stated_files, write_manifest
from transforms.rows import FeatureRows

NOON = datetime(2026, 8, 9, 12, tzinfo=UTC)
NOON_NS = to_ns(NOON)
HOUR_S = 3600
FEATURES = load_registry_version("1.0.0", SHIPPED_FOLDER).feature_set
COLUMNS = len(FEATURES.columns)
SPREAD = FEATURES.columns.index("spread_rel")
RECORD = DatasetRecord(
    dataset_id="d",
    symbols=("BTCUSDT", "ETHUSDT"),
    request={},
    feature_registry_version="1.0.0",
    feature_set=FEATURES.fingerprint,
    created_at=NOON,
    updated_at=NOON,
    status="ready",
)


def drawn(rows: int, *, seed: int = 1, shift: float = 0.0) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    values = np.random.default_rng(seed).standard_normal((rows, COLUMNS))
    values[:, SPREAD] += shift
    return values


def profile_of(times_ns: np.ndarray[Any, np.dtype[np.int64]], values: np.ndarray[Any, Any]) -> TableProfile:
    found = TableProfile(FEATURES.columns, np.full(COLUMNS, -np.inf), np.full(COLUMNS, np.inf))
    found.add(times_ns, values)
    return found


def dataset(folder: Path) -> DatasetRecord:
    path = folder / "d"
    path.mkdir()
    manifest: dict[str, Any] = {
        "request": {"symbols": ["BTCUSDT", "ETHUSDT"]},
        "feature_registry_version": "1.0.0",
        "files": {},
    }
    write_profile(path, manifest, profile_of(np.arange(5000) * SECOND_NS, drawn(5000)))
    write_manifest(path, manifest)
    assert list(stated_files(manifest)) == ["_profile.json"]
    return replace(RECORD, path=str(path))


def serve(folder: Path, values: np.ndarray[Any, Any], *, until_ns: int = NOON_NS) -> FeatureLog:
    row_ns = until_ns - np.arange(len(values), 0, -1) * SECOND_NS
    status = np.zeros((len(values), len(FEATURES.groups)), np.int8)
    with FeatureLogWriter(folder) as log:
        log.append(FeatureRows("BTCUSDT", FEATURES, row_ns, values, status, None), row_ns + 1)
    return FeatureLog(folder)


def test_served_rows_that_shifted_are_told_by_column_and_those_before_the_hours_are_not_looked_at(
    tmp_path: Path,
) -> None:
    record = dataset(tmp_path)
    rows = np.concatenate([drawn(HOUR_S, seed=2, shift=9.0), drawn(HOUR_S, seed=3, shift=1.0)])
    served = ServedDrift(serve(tmp_path / "log", rows), SHIPPED_FOLDER, USUAL_LIMITS)
    found = served.of(record, until_ns=NOON_NS, hours=1)
    assert (found["from"], found["to"]) == (format_iso(NOON_NS - HOUR_S * SECOND_NS), format_iso(NOON_NS))
    btc = found["symbols"]["BTCUSDT"]
    assert (btc["rows"], btc["drifted"]) == (HOUR_S, ["spread_rel"])
    assert next(iter(btc["columns"])) == "spread_rel"
    assert btc["columns"]["spread_rel"]["psi"] < 3  # the shift of the hour before is far beyond
    assert found["symbols"]["ETHUSDT"] == {"rows": 0, "drifted": [], "columns": {}}
    assert served.of(record, until_ns=NOON_NS, hours=2)["symbols"]["BTCUSDT"]["rows"] == 2 * HOUR_S


def test_rows_that_some_groups_have_already_and_others_not_yet_wait_for_the_next_look(tmp_path: Path) -> None:
    record = dataset(tmp_path)
    serve(tmp_path / "log", drawn(300), until_ns=NOON_NS - 60 * SECOND_NS)
    log = serve(tmp_path / "log", drawn(60))
    # As between two groups' parts of one flush.
    last = max(local(log.of_symbol(FEATURES.groups[-1], "BTCUSDT")).glob("date=*/*.parquet"))
    last.unlink()
    served = ServedDrift(log, SHIPPED_FOLDER, USUAL_LIMITS)
    assert served.of(record, until_ns=NOON_NS, hours=1)["symbols"]["BTCUSDT"]["rows"] == 300


def test_what_cannot_be_compared_says_why(tmp_path: Path) -> None:
    record = dataset(tmp_path)
    served = ServedDrift(FeatureLog(tmp_path / "log"), SHIPPED_FOLDER, USUAL_LIMITS)
    with pytest.raises(Conflict, match="must be ready, was building"):
        served.of(replace(record, status="building"), until_ns=NOON_NS, hours=1)
    with pytest.raises(InvalidRequest, match="hours: must be 1 to 24, was 25"):
        served.of(record, until_ns=NOON_NS, hours=25)
    write_manifest(tmp_path / "d", {"feature_registry_version": "1.0.0", "files": {}})
    with pytest.raises(NotFound, match="has no profile"):
        served.of(record, until_ns=NOON_NS, hours=1)


def test_the_test_split_is_compared_with_the_train_split() -> None:
    times_ns = np.arange(4000) * SECOND_NS
    values = np.concatenate([drawn(2000), drawn(2000, seed=2, shift=2.0)])
    splits = [
        {"name": name, "start": format_iso(first * SECOND_NS), "end": format_iso(last * SECOND_NS)}
        for name, first, last in (("train", 0, 2000), ("test", 2000, 4000))
    ]
    found = split_drift(profile_of(times_ns, values), splits, ["BTCUSDT", "ETHUSDT"])
    assert [name for name, each in found["BTCUSDT"].items() if each["drifted"]] == ["spread_rel"]
    assert found["ETHUSDT"] == {}
