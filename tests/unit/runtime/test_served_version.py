"""The registry version that data was served by is told from the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from feature_repo.registry_versions import load_registry_version
from market.clock import SECOND_NS, parse_iso_ns
from runtime.served_version import served_version
from runtime.settings import load_settings
from storage.features.log import FeatureLogWriter
from transforms.rows import FeatureRows

START_NS = parse_iso_ns("2026-01-05T12:00:00")


def serve(folder: Path, version: str, begin_ns: int) -> None:
    chosen = load_registry_version(version).feature_set
    row_ns = begin_ns + np.arange(3, dtype=np.int64) * SECOND_NS
    rows = FeatureRows(
        "BTCUSDT",
        chosen,
        row_ns,
        np.ones((3, len(chosen.columns))),
        np.zeros((3, len(chosen.groups)), np.int8),
    )
    with FeatureLogWriter(folder / "features") as writer:
        writer.append(rows, row_ns)


def test_it_is_the_largest_whose_columns_were_all_served_last(tmp_path: Path) -> None:
    settings = load_settings({"FEATURE_SERVICE_DATA_PATH": str(tmp_path)}, env_file=None)
    assert served_version(settings) is None
    serve(tmp_path, "1.1.0", START_NS)
    assert served_version(settings) == "1.1.0"
    serve(tmp_path, "1.0.0", START_NS + 10 * SECOND_NS)
    assert served_version(settings) == "1.0.0"
