"""What a version has of the feature log."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from feature_repo.registry_versions import load_registry_version
from market.clock import DAY_NS, SECOND_NS
from registry.differences import Differences
from registry.folder import VersionFolder
from storage.features.log import FeatureLogWriter
from tests.changing import write_version
from transforms.rows import FeatureRows


def test_rows_of_a_version_are_those_that_have_the_columns_of_all_its_groups(tmp_path: Path) -> None:
    folder = VersionFolder(tmp_path / "registry")
    folder.path.mkdir()
    write_version(folder.path, "3.0.0", {"mid_price": "orderbook", "spread_abs": "orderbook", "volume_3s": "trades"})
    write_version(folder.path, "3.1.0", {"mid_price": "orderbook", "spread_abs": "orderbook", "vwap_3s": "trades"})
    serve(tmp_path / "features", folder, "3.0.0", first_s=0, count=7)
    serve(tmp_path / "features", folder, "3.1.0", first_s=7, count=2)
    differences = Differences(folder, tmp_path / "features", lambda _sets: [])
    assert differences.rows(folder.load("3.0.0")) == 7
    assert differences.rows(folder.load("3.1.0")) == 2, "rows of the other one have its prices, and not its flow"


def serve(root: Path, folder: VersionFolder, version: str, *, first_s: int, count: int) -> None:
    chosen = load_registry_version(version, folder.path).feature_set
    row_ns = 20_000 * DAY_NS + (first_s + np.arange(count, dtype=np.int64)) * SECOND_NS
    values, status = np.ones((count, len(chosen.columns))), np.zeros((count, len(chosen.groups)), np.int8)
    with FeatureLogWriter(root) as writer:
        writer.append(FeatureRows("BTCUSDT", chosen, row_ns, values, status), row_ns)
