"""Sequences of a dataset by the SDK: each window is the rows of the log before a sample, and none crosses a break."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from feature_client import Dataset
from feature_repo.registry_versions import load_registry_version
from market.clock import MINUTE_NS, SECOND_NS, parse_iso_ns
from market.errors import InvalidRequest, NotFound
from storage.features.log import FeatureLogWriter
from tests.build_places import UNGATED, place_in
from training_sets.builds.builder import build_dataset
from training_sets.builds.place import BuildPlace
from training_sets.request.folds import PurgedCombinations
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import RegressionTarget
from transforms.rows import FeatureRows
from transforms.status import OK, WARMUP

START_NS = parse_iso_ns("2026-01-05T23:56:00")
ROWS = 480
HOLE = range(100, 110)
RESTART = 300
LENGTH = 10
SYMBOLS = ("BTCUSDT", "ETHUSDT")
FEATURES = load_registry_version("1.0.0").feature_set
REQUEST = DatasetRequest(
    symbols=SYMBOLS,
    strategy=PurgedCombinations(START_NS, START_NS + 8 * MINUTE_NS, groups=4, test_groups=1),
    targets=(RegressionTarget(5 * SECOND_NS),),
    registry_version="1.0.0",
    embargo_ns=3 * SECOND_NS,
    check_leakage=False,  # the columns are drawn, not computed
)


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray[tuple[int, int], np.dtype[np.float64]]]:
    folder = tmp_path_factory.mktemp("sequences")
    drawn = np.random.default_rng(3).uniform(0.1, 0.9, (ROWS, len(FEATURES.columns)))
    at = np.array([number for number in range(ROWS) if number not in HOLE])
    row_ns = START_NS + at * SECOND_NS
    status = np.full((len(at), len(FEATURES.groups)), OK, np.int8)
    status[at == RESTART] = WARMUP
    with FeatureLogWriter(folder / "features") as log:
        for symbol in SYMBOLS:
            log.append(FeatureRows(symbol, FEATURES, row_ns, drawn[at], status), row_ns + 20_000_000)
    return folder, drawn


@pytest.fixture(scope="module")
def dataset(values: tuple[Path, object], kernel_cache: Path) -> Dataset:
    folder, _ = values
    place: BuildPlace = place_in(folder, kernel_cache, rules=UNGATED)
    built = build_dataset(REQUEST, place, folder / "dataset")
    return Dataset.open(built.path, log_folder=folder / "features")


@pytest.mark.parametrize("split", ["train", "test"])
def test_windows_are_the_rows_before_each_sample_and_none_crosses_a_break(
    dataset: Dataset, values: tuple[Path, np.ndarray[tuple[int, int], np.dtype[np.float64]]], split: str
) -> None:
    _, drawn = values
    for fold in range(4):
        loaded = dataset.load(split, fold=fold)
        own = loaded.targets.xs("ETHUSDT", level="symbol")
        times = own.index.get_level_values("timestamp").astype("int64")
        kept = {int(time - START_NS) // SECOND_NS for time in times}
        # Rows without a label are no samples, but rows of the market: a window may hold them, not end with them.
        expected = [
            end
            for end in sorted(kept)
            if all(
                number in kept or (number not in HOLE and number != RESTART and _is_unlabelled(number))
                for number in range(end - LENGTH + 1, end + 1)
            )
            and RESTART not in range(end - LENGTH + 1, end + 1)
        ]
        found = dataset.sequences(split, length=LENGTH, symbol="ETHUSDT", fold=fold).to_numpy()
        ends = (found.end_ns - START_NS) // SECOND_NS
        assert ends.tolist() == expected
        assert len(expected) > 20
        for end, window, target in zip(ends.tolist(), found.values, found.targets, strict=True):
            assert np.array_equal(window, drawn[end - LENGTH + 1 : end + 1].astype(np.float32))
            assert target == own.to_numpy()[sorted(kept).index(end)]


def _is_unlabelled(number: int) -> bool:
    """Whether the mid five seconds later, or its own, is unknown."""
    return number + 5 in HOLE or number in HOLE


def test_they_are_iterated_batched_and_handed_to_arrow_alike(dataset: Dataset) -> None:
    sequences = dataset.sequences(length=LENGTH, symbol="BTCUSDT", fold=1)
    whole = sequences.to_numpy()
    assert next(len(batch.end_ns) for batch in sequences.batches(64)) == 64
    singles = list(sequences)
    assert all(np.array_equal(one, other) for (one, _), other in zip(singles, whole.values, strict=True))
    table = pa.Table.from_batches(sequences.record_batches(50))
    assert table.column_names == ["symbol", "timestamp", "window", "target"]
    flat = np.array(table.column("window").to_pylist(), np.float32)
    assert np.array_equal(flat.reshape(whole.values.shape), whole.values)
    assert np.array_equal(table.column("target").to_numpy(), whole.targets[:, 0])
    shards = [each for number in range(2) for each in sequences.shard(number, 2).to_numpy().end_ns.tolist()]
    assert sorted(shards) == whole.end_ns.tolist()
    none = dataset.sequences(length=ROWS, symbol="BTCUSDT", fold=1).to_numpy()
    assert none.values.shape == (0, ROWS, len(FEATURES.columns))


def test_what_cannot_be_had_says_why(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="symbol: must be one of BTCUSDT, ETHUSDT, was left out"):
        dataset.sequences(length=5, fold=0)
    with pytest.raises(NotFound, match="symbol: must be one of BTCUSDT, ETHUSDT, was 'SOLUSDT'"):
        dataset.sequences(length=5, fold=0, symbol="SOLUSDT")
    with pytest.raises(
        InvalidRequest, match=r"sequences: need a feature log; Dataset.open\(folder, log_folder=...\) names it"
    ):
        dataclasses.replace(dataset, log_folder=None).sequences(length=5, fold=0, symbol="BTCUSDT")
    with pytest.raises(InvalidRequest, match="must have rows of BTCUSDT with the features of the dataset, lacks"):
        dataclasses.replace(dataset, log_folder=tmp_path).sequences(length=5, fold=0, symbol="BTCUSDT")
    at_times = dataset.manifest | {"request": dataset.manifest["request"] | {"sample_kind": "at_time"}}
    with pytest.raises(InvalidRequest, match="must be of a dataset of on_row samples, was of at_time"):
        dataclasses.replace(dataset, manifest=at_times).sequences(length=5, fold=0, symbol="BTCUSDT")


def test_pytorch_iterates_over_them(dataset: Dataset) -> None:
    pytest.importorskip("torch")
    windows = list(dataset.sequences(length=LENGTH, symbol="BTCUSDT", fold=1).torch())
    assert windows[0][0].shape == (LENGTH, len(FEATURES.columns))
