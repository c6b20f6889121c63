"""A dataset in frames: what the manifest names, from Parquet and from CSV, and nothing that it does not state."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest

from feature_client import Dataset
from market.clock import MINUTE_NS
from market.errors import CorruptStore, InvalidRequest, NotFound
from training_sets.dataset.files import SUFFIX, table_schema, write_batches
from training_sets.dataset.manifest import column_roles, write_manifest
from training_sets.provenance import file_entry
from training_sets.request.folds import Period, TimeBased
from training_sets.request.request import DatasetRequest, OutputFormat
from training_sets.request.targets import TripleBarrierTarget

HOUR_NS = 60 * MINUTE_NS
TIMES = np.array([1_772_000_000_000_000_000, 1_772_000_000_100_000_000], np.int64)
MISREAD = 0.00034558419206647785
"""pandas' default parser reads its shortest text as the next float."""
REQUEST = DatasetRequest(
    symbols=("BTCUSDT",),
    strategy=TimeBased(
        tuple(Period(name, at * HOUR_NS, (at + 1) * HOUR_NS) for at, name in enumerate(("train", "validation", "test")))
    ),
    targets=(TripleBarrierTarget(1_000_000_000, name="hit"),),
    registry_version="1.0.0",
)


def written(folder: Path, output_format: OutputFormat) -> Dataset:
    schema = table_schema(["mid", "gone_t1", "hit"], has_fold=False, metadata={}, barriers=["hit"])
    times = pa.array(TIMES).cast(pa.timestamp("ns", "UTC"))
    values = [pa.array([MISREAD, np.nan], from_pandas=False), pa.array([2.0, 3.0]), pa.array([1.0, -1.0])]
    columns: list[pa.Array[Any]] = [pa.array(["BTCUSDT"] * 2), times, *values, times, pa.array(["upper", "lower"])]
    path = folder / f"train{SUFFIX[output_format]}"
    assert write_batches(path, schema, [pa.record_batch(columns, schema=schema)]) == 2
    manifest = {
        "files": {"train": file_entry(path, folder)},
        "columns": schema.names,
        "column_roles": column_roles(schema.names, REQUEST),
    }
    write_manifest(folder, manifest)
    return Dataset.open(folder)


@pytest.mark.parametrize("output_format", get_args(OutputFormat))
def test_a_split_is_features_and_targets_by_keys_to_the_bit(tmp_path: Path, output_format: OutputFormat) -> None:
    dataset = written(tmp_path, output_format)
    features, targets = dataset.load("train")
    assert list(features) == dataset.feature_columns == ["mid", "gone_t1"]
    assert list(targets) == dataset.target_columns == ["hit"]
    np.testing.assert_array_equal(features.to_numpy(), [[MISREAD, 2.0], [np.nan, 3.0]])
    assert features.index.get_level_values("timestamp").astype("int64").tolist() == TIMES.tolist()
    assert features.index.equals(targets.index)
    assert dataset.weights().shape == (2, 0)
    assert dataset.frame()["hit_t1"].astype("int64").tolist() == TIMES.tolist()


def test_what_is_not_stated_or_was_changed_is_not_read(tmp_path: Path) -> None:
    dataset = written(tmp_path, "parquet")
    with pytest.raises(NotFound, match="split: must be one of train, was 'test'"):
        dataset.load("test")
    with pytest.raises(NotFound, match="fold-000/train"):
        dataset.load("train", fold=0)
    (tmp_path / "train.parquet").write_bytes(b"PAR1")
    with pytest.raises(CorruptStore, match="was changed"):
        dataset.load("train")
    write_manifest(tmp_path, {"files": {}})
    with pytest.raises(InvalidRequest, match="column_roles"):
        Dataset.open(tmp_path)
