"""A dataset's samples are what was available at their times, and its labels the prices of their rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from feature_repo.apply import apply_definitions
from feature_repo.definitions import definitions
from feature_repo.registry_versions import SHIPPED_FOLDER, load_registry_version
from feature_repo.store import open_store
from ingestion.compaction import compact_tape
from ingestion.dead_letter import DeadLetter
from ingestion.pipeline import Pipeline, available_as_if_live
from ingestion.replay import replay
from ingestion.simulator import DEFAULT_SYMBOLS, simulate
from ingestion.sinks import FeatureLogSink
from market.clock import MINUTE_NS, SECOND_NS, parse_iso_ns
from market.errors import InvalidRequest
from storage.feature_log import FeatureLogWriter, read_feature_log
from storage.instruments import InstrumentPins
from training_sets.builder import BuildPlace, Dataset, build_dataset
from training_sets.folds import TimeBased, default_periods
from training_sets.request import DatasetRequest
from training_sets.targets import RegressionTarget
from transforms.plan import Kernel, compile_kernel
from transforms.rows import FeatureRows

START_NS = parse_iso_ns("2026-01-05T12:00:00")
DURATION_NS = 4 * MINUTE_NS
HORIZON_NS = 10 * SECOND_NS
SYMBOLS = ("BTCUSDT", "ETHUSDT")
REQUEST = DatasetRequest(
    symbols=SYMBOLS,
    strategy=TimeBased(default_periods(START_NS, START_NS + DURATION_NS)),
    targets=(RegressionTarget(HORIZON_NS),),
    registry_version="1.0.0",
)


@pytest.fixture(scope="module")
def kernel(kernel_cache: Path) -> Kernel:
    return compile_kernel(load_registry_version("1.0.0").feature_set, kernel_cache)


@pytest.fixture(scope="module")
def features_folder(tmp_path_factory: pytest.TempPathFactory, kernel: Kernel) -> Path:
    folder = tmp_path_factory.mktemp("market")
    pipeline = Pipeline(
        kernel,
        InstrumentPins(folder / "raw"),
        raw_folder=folder / "raw",
        dead_letter=DeadLetter(folder / "dead_letter.jsonl"),
        sinks=[FeatureLogSink(FeatureLogWriter(folder / "features"))],
        availability=available_as_if_live,
    )
    try:
        replay(pipeline, simulate(DEFAULT_SYMBOLS, seed=5, start_ns=START_NS, duration_ns=DURATION_NS))
    finally:
        pipeline.close()
    for symbol in SYMBOLS:
        compact_tape(folder / "raw", symbol, InstrumentPins(folder / "raw"))
    return folder / "features"


@pytest.fixture(scope="module")
def place(features_folder: Path, kernel_cache: Path) -> BuildPlace:
    # Retrieval never asks the online store: nothing need listen there.
    opened = open_store(registry=features_folder.parent / "registry.db", redis_connection="localhost:1")
    apply_definitions(opened, definitions(features_folder=features_folder))
    return BuildPlace(
        store=opened,
        features_folder=features_folder,
        raw_folder=features_folder.parent / "raw",
        versions_folder=SHIPPED_FOLDER,
        kernels_folder=kernel_cache,
    )


@pytest.fixture
def build(place: BuildPlace, tmp_path: Path) -> Dataset:
    return build_dataset(REQUEST, place, tmp_path / "dataset")


def served(
    features_folder: Path, kernel: Kernel, symbol: str
) -> tuple[FeatureRows, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    return read_feature_log(features_folder, symbol, kernel.feature_set, from_ns=None, to_ns=None)


def test_a_sample_holds_the_newest_row_that_was_available_and_the_label_of_its_time(
    build: Dataset, features_folder: Path, kernel: Kernel
) -> None:
    columns = list(kernel.feature_set.columns)
    for split in ("train", "validation", "test"):
        table = pq.read_table(build.path / f"{split}.parquet").to_pandas()
        assert list(table.columns) == ["symbol", "timestamp", *columns, "target"]
        for symbol in SYMBOLS:
            rows, available_ns = served(features_folder, kernel, symbol)
            prices = dict(zip(rows.row_ns.tolist(), rows.values[:, columns.index("mid_price")].tolist(), strict=True))
            samples = table[table["symbol"] == symbol]
            assert len(samples) > 10
            times_ns = samples["timestamp"].dt.tz_localize(None).to_numpy("datetime64[ns]").view(np.int64)
            for time_ns, sample in zip(times_ns.tolist(), samples.itertuples(index=False), strict=True):
                known = np.flatnonzero((rows.row_ns <= time_ns) & (available_ns <= time_ns))
                expected = rows.values[known[-1]]
                found = np.array(sample[2:-1], np.float64)
                assert np.array_equal(found.view(np.int64), expected.view(np.int64))
                assert sample[-1] == prices[time_ns + HORIZON_NS] / prices[time_ns] - 1.0


def test_every_sampled_row_is_in_a_file_or_counted(build: Dataset) -> None:
    manifest = build.manifest
    kept = sum(build.records.values())
    dropped = manifest["rows_without_features"] + manifest["rows_without_label"]
    dropped += sum(split["purged"] + split["embargoed"] for split in manifest["splits"])
    assert manifest["rows_sampled"] == kept + dropped == len(SYMBOLS) * DURATION_NS // SECOND_NS
    assert not any(split["overlaps_next"] for split in manifest["splits"])
    for split in manifest["splits"][:-1]:
        assert split["last_label_end"] < split["next_start"]


def test_a_period_without_rows_is_refused_with_the_one_there_is(place: BuildPlace, tmp_path: Path) -> None:
    day_before = DatasetRequest(
        symbols=("BTCUSDT",),
        strategy=TimeBased(default_periods(START_NS - 600 * MINUTE_NS, START_NS - 590 * MINUTE_NS)),
        targets=(RegressionTarget(HORIZON_NS),),
        registry_version="1.0.0",
    )
    with pytest.raises(InvalidRequest, match="BTCUSDT has rows from 2026-01-05T12:00:01Z"):
        build_dataset(day_before, place, tmp_path / "dataset")
    assert not (tmp_path / "dataset").exists()
