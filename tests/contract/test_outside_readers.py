"""The folders that we write are read whole by the tools that people use: pandas, pyarrow, polars, duckdb, datasets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from feature_repo.registry_versions import load_registry_version
from market.clock import DAY_NS, SECOND_NS, parse_iso_ns
from storage.features.log import FeatureLogWriter
from storage.features.parts import group_folder
from training_sets.dataset.files import SplitFile, fold_name, table_schema
from training_sets.dataset.manifest import MANIFEST_NAME, REPORT_NAME, write_manifest
from transforms.rows import FeatureRows

START_NS = parse_iso_ns("2026-01-05T23:59:58")
SYMBOLS = ("BTCUSDT", "ETHUSDT")
FEATURES = load_registry_version("1.0.0").feature_set
GROUP = FEATURES.groups[0]


@contextmanager
def without_network(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[Callable[[Path], pd.DataFrame]]:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    import datasets

    datasets.disable_progress_bars()

    def read(folder: Path) -> pd.DataFrame:
        splits = datasets.load_dataset(str(folder), cache_dir=str(cache))
        frames: list[pd.DataFrame] = [split.to_pandas().assign(split=name) for name, split in splits.items()]
        return pd.concat(frames)

    yield read


def read_by_duckdb(folder: Path) -> pd.DataFrame:
    with duckdb.connect() as connection:
        frame: pd.DataFrame = connection.execute("SELECT * FROM read_parquet($1)", [f"{folder}/**/*.parquet"]).df()
    return frame


READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    "pandas": pd.read_parquet,
    "pyarrow": lambda folder: pq.read_table(folder).to_pandas(),
    "pyarrow dataset": lambda folder: (
        pads.dataset(folder, format="parquet", partitioning="hive").to_table().to_pandas()
    ),
    "polars": lambda folder: pl.read_parquet(f"{folder}/**/*.parquet", hive_partitioning=True).to_pandas(),
    "duckdb": read_by_duckdb,
}


@pytest.fixture(scope="module")
def log_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("features")
    with FeatureLogWriter(root) as log:
        for at, symbol in enumerate(SYMBOLS):
            row_ns = START_NS + np.arange(4) * SECOND_NS  # over midnight
            values = np.full((4, len(FEATURES.columns)), float(at))
            status = np.zeros((4, len(FEATURES.groups)), np.int8)
            log.append(FeatureRows(symbol, FEATURES, row_ns, values, status), row_ns + 1)
    folder = group_folder(root, GROUP)
    # What we keep beside the rows is no row.
    next(folder.glob("symbol=*/date=*")).joinpath(".sampled-1-2").write_bytes(b"\0" * 16)
    return folder


@pytest.fixture(scope="module")
def dataset_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("datasets") / "one"
    schema = table_schema(["mid_price", "target"], has_fold=True, metadata={"feature_set": "abc"})
    for fold in range(2):
        for at, split in enumerate(("train", "validation", "test")):
            file = SplitFile(folder / fold_name(fold) / f"{split}.parquet", schema, "parquet")
            frame = pd.DataFrame(
                {
                    "symbol": "BTCUSDT",
                    "timestamp": pd.to_datetime(START_NS + (at * 2 + np.arange(2)) * DAY_NS, utc=True),
                    "mid_price": 100.0 + fold,
                    "target": 0.5,
                    "fold": np.int32(fold),
                }
            )
            file.write(pads.dataset(_arrow(frame, schema)).to_table())
            file.finish()
    write_manifest(folder, {"files": {}})
    (folder / REPORT_NAME).write_text("<html></html>")
    assert (folder / MANIFEST_NAME).is_file()
    return folder


def _arrow(frame: pd.DataFrame, schema: Any) -> Any:  # noqa: ANN401  # Arrow's types have no stubs for this
    return schema.empty_table().from_pandas(frame, schema=schema, preserve_index=False)


@pytest.mark.parametrize("reader", READERS)
def test_the_feature_log_is_read_whole_with_its_symbols_apart(log_folder: Path, reader: str) -> None:
    frame = READERS[reader](log_folder)
    assert len(frame) == 2 * 4
    for at, symbol in enumerate(SYMBOLS):
        rows = frame[frame["symbol"].astype(str) == symbol]
        assert set(rows[GROUP.columns[0]]) == {float(at)}
        assert sorted(pd.to_datetime(rows["event_timestamp"], utc=True).dt.as_unit("ns").astype("int64")) == [
            START_NS + second * SECOND_NS for second in range(4)
        ]


@pytest.mark.parametrize("reader", READERS)
def test_a_dataset_is_read_whole_with_its_folds_apart(dataset_folder: Path, reader: str) -> None:
    frame = READERS[reader](dataset_folder)
    assert len(frame) == 2 * 3 * 2
    assert frame["fold"].dtype == np.int32
    assert frame.groupby("fold")["mid_price"].unique().map(list).to_dict() == {0: [100.0], 1: [101.0]}


def test_datasets_reads_the_log_of_a_symbol_and_a_dataset_with_its_splits_and_folds(
    log_folder: Path, dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with without_network(monkeypatch, tmp_path) as read:
        assert set(read(log_folder / "symbol=ETHUSDT")[GROUP.columns[0]]) == {1.0}
        assert len(read(log_folder)) == 2 * 4
        found = read(dataset_folder)
    assert found.groupby(["split", "fold"]).size().to_dict() == {
        (split, fold): 2 for split in ("train", "validation", "test") for fold in (0, 1)
    }
