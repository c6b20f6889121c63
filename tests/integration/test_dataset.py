"""A dataset's samples are what was available at their times, and its labels the prices of their rows."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.registry_versions import load_registry_version
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS
from market.clock import MINUTE_NS, SECOND_NS, floor_to, parse_iso_ns
from market.errors import InvalidRequest
from storage.features.log import FeatureLog
from tests.build_places import offline_store, place_in
from tests.leaks import HORIZON_NS, Float64s, back_filled, centred, label, z_score_of_everything
from tests.simulated import play_market
from training_sets.builds.builder import Dataset, build_dataset
from training_sets.builds.place import BuildPlace
from training_sets.builds.verification import verify_dataset
from training_sets.checks.drawn import LEAST_DRAWN
from training_sets.dataset.manifest import manifest_request
from training_sets.provenance import file_entry
from training_sets.request.folds import (
    PurgedCombinations,
    RandomBlocks,
    Strategy,
    TimeBased,
    WalkForward,
    default_periods,
)
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import (
    ClassificationTarget,
    RegressionTarget,
    RiskAdjustedTarget,
    TripleBarrierTarget,
)
from transforms.kernel import Kernel, compile_kernel
from transforms.rows import FeatureRows

START_NS = parse_iso_ns("2026-01-05T12:00:00")
DURATION_NS = 4 * MINUTE_NS
SYMBOLS = ("BTCUSDT", "ETHUSDT")
REQUEST = DatasetRequest(
    symbols=SYMBOLS,
    strategy=TimeBased(default_periods(START_NS, START_NS + DURATION_NS)),
    targets=(RegressionTarget(HORIZON_NS),),
    registry_version="1.0.0",
)


@pytest.fixture(scope="module")
def kernel(kernel_cache: Path) -> Kernel:
    kernel = compile_kernel(load_registry_version("1.0.0").feature_set, kernel_cache)
    kernel.warm_up()
    return kernel


@pytest.fixture(scope="module")
def features_folder(tmp_path_factory: pytest.TempPathFactory, kernel: Kernel) -> Path:
    folder = tmp_path_factory.mktemp("market")
    play_market(folder, kernel, seed=5, start_ns=START_NS, duration_ns=DURATION_NS, symbols=len(DEFAULT_SYMBOLS))
    return folder / "features"


@pytest.fixture(scope="module")
def place(features_folder: Path, kernel_cache: Path) -> BuildPlace:
    return place_in(features_folder.parent, kernel_cache, features=features_folder)


@pytest.fixture
def build(place: BuildPlace, tmp_path: Path) -> Dataset:
    return build_dataset(REQUEST, place, tmp_path / "dataset")


def served(
    features_folder: Path, kernel: Kernel, symbol: str
) -> tuple[FeatureRows, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    return FeatureLog(features_folder).read(symbol, kernel.feature_set, from_ns=None, to_ns=None)


def test_a_sample_holds_the_row_of_its_time_and_the_label_from_when_it_arrived(
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
                [at] = np.flatnonzero(rows.row_ns == time_ns).tolist()
                found = np.array(sample[2:-1], np.float64)
                assert np.array_equal(found.view(np.int64), rows.values[at].view(np.int64))
                entry_ns = floor_to(int(available_ns[at]), SECOND_NS)
                assert sample[-1] == prices[entry_ns + HORIZON_NS] / prices[entry_ns] - 1.0


def test_every_sampled_row_is_in_a_file_or_counted(build: Dataset) -> None:
    manifest = build.manifest
    kept = sum(build.records.values())
    dropped = manifest["rows_without_features"] + manifest["rows_without_label"]
    dropped += sum(split["purged"] + split["embargoed"] for split in manifest["splits"])
    assert manifest["rows_sampled"] == kept + dropped == len(SYMBOLS) * DURATION_NS // SECOND_NS
    assert not any(split["overlaps_next"] for split in manifest["splits"])
    for split in manifest["splits"][:-1]:
        assert split["last_label_end"] < split["next_start"]


def test_the_features_and_labels_were_made_again_without_their_future(build: Dataset) -> None:
    leakage = build.manifest["leakage"]
    drawn = leakage["rows_drawn"]
    assert len(SYMBOLS) * LEAST_DRAWN <= drawn <= 2 * len(SYMBOLS) * LEAST_DRAWN
    assert leakage["rows_rebuilt_from_their_past"] == leakage["labels_made_again"] == drawn
    assert (leakage["rows_not_checked"], leakage["log_days_not_checked"]) == ({}, [])


@pytest.mark.parametrize("plant", [centred, back_filled, z_score_of_everything, label])
def test_a_feature_that_saw_its_future_fails_the_build_by_name(
    place: BuildPlace, tmp_path: Path, plant: Callable[[Float64s], Float64s]
) -> None:
    log = tmp_path / "features"
    shutil.copytree(place.features.folder, log)
    planted = "volatility_1m"  # another value every second
    source = "mid_price" if plant is label else planted
    for path in log.glob("price/*/symbol=BTCUSDT/*/*.parquet"):
        table = pq.read_table(path, partitioning=None)
        values = plant(table.column(source).to_numpy())
        at = table.schema.get_field_index(planted)
        pq.write_table(table.set_column(at, planted, pa.array(values)), path)
    leaking = dataclasses.replace(place, open_store=lambda: offline_store(tmp_path, log), features=FeatureLog(log))
    with pytest.raises(InvalidRequest, match=r"leakage: volatility_1m of BTCUSDT at .* must be what its past gives"):
        build_dataset(REQUEST, leaking, tmp_path / "dataset")


def test_labels_that_reach_into_the_next_split_fail_the_build_unless_asked_for(
    place: BuildPlace, tmp_path: Path
) -> None:
    unpurged = dataclasses.replace(REQUEST, purge=False)
    with pytest.raises(InvalidRequest, match="leakage: target of train must end before the next split begins"):
        build_dataset(unpurged, place, tmp_path / "refused")
    built = build_dataset(dataclasses.replace(unpurged, check_leakage=False), place, tmp_path / "dataset")
    assert built.manifest["leakage"] is None
    assert built.manifest["splits"][0]["overlaps_next"]


TARGETS = (
    RegressionTarget(HORIZON_NS, name="change"),
    ClassificationTarget(HORIZON_NS, SECOND_NS, name="side", threshold=1e-6),
    RiskAdjustedTarget(HORIZON_NS, name="sharpe", volatility_window_ns=20 * SECOND_NS),
    TripleBarrierTarget(HORIZON_NS, name="barrier", upper=1e-5, lower=1e-5),
)


def test_walk_forward_writes_every_fold_with_every_target(place: BuildPlace, tmp_path: Path) -> None:
    request = dataclasses.replace(
        REQUEST,
        strategy=WalkForward(
            START_NS, START_NS + DURATION_NS, MINUTE_NS, 30 * SECOND_NS, 30 * SECOND_NS, 30 * SECOND_NS
        ),
        targets=TARGETS,
    )
    built = build_dataset(request, place, tmp_path / "dataset")
    assert [fold["fold"] for fold in built.manifest["folds"]] == [0, 1, 2, 3, 4]
    assert sorted(path.name for path in built.path.glob("fold-*")) == [f"fold-00{number}" for number in range(5)]
    for number, fold in enumerate(built.manifest["folds"]):
        for split in fold["splits"]:
            table = pq.read_table(built.path / f"fold-00{number}" / f"{split['name']}.parquet")
            assert table.column_names[-5:] == ["sharpe", "barrier", "barrier_t1", "barrier_barrier", "fold"]
            labels = table.column("barrier").to_numpy().astype(np.int64)
            assert table.column("barrier_barrier").to_pylist() == [("lower", "end", "upper")[at + 1] for at in labels]
            assert table.num_rows == split["records"]
            assert set(table.column("fold").to_pylist()) <= {number}
            assert set(table.column("side").to_pylist()) <= {-1.0, 0.0, 1.0}
            times_ns = table.column("timestamp").cast(pa.int64()).to_numpy()
            assert np.all(np.diff(times_ns) >= 0)
            assert not split["overlaps_next"]


@pytest.mark.parametrize(
    "strategy",
    [
        PurgedCombinations(START_NS, START_NS + DURATION_NS, groups=4, test_groups=2),
        RandomBlocks(START_NS, START_NS + DURATION_NS, 20 * SECOND_NS, seed=4),
    ],
    ids=["cpcv", "random"],
)
def test_every_row_with_a_label_is_kept_or_counted_in_each_fold(
    place: BuildPlace, tmp_path: Path, strategy: Strategy
) -> None:
    built = build_dataset(dataclasses.replace(REQUEST, strategy=strategy), place, tmp_path / "dataset")
    manifest = built.manifest
    usable = manifest["rows_sampled"] - manifest["rows_without_features"] - manifest["rows_without_label"]
    for fold in manifest["folds"]:
        counted = sum(split[name] for split in fold["splits"] for name in ("records", "purged", "embargoed"))
        assert counted == usable
        assert not any(split["overlaps_next"] for split in fold["splits"])
    for entry in manifest["files"].values():
        assert (built.path / entry["path"]).stat().st_size == entry["bytes"]


def test_missing_values_are_dropped_with_their_row_or_filled_from_the_past(place: BuildPlace, tmp_path: Path) -> None:
    def built(name: str, **changes: Any) -> Dataset:  # noqa: ANN401  # fields of the request
        return build_dataset(dataclasses.replace(REQUEST, **changes), place, tmp_path / name)

    kept = built("kept")
    filled = built("filled", missing="forward_fill", fill_limit_ns=30 * SECOND_NS)
    columns = kept.manifest["columns"][2:]
    unknown = {
        each.path.name: sum(
            int(pq.read_table(path).select(columns).to_pandas().isna().sum().sum())
            for path in each.path.glob("*.parquet")
        )
        for each in (kept, filled)
    }
    assert 0 < unknown["filled"] < unknown["kept"]
    assert filled.manifest["values_filled"] > 0
    # Four minutes hold no candle indicator, so that no row is whole.
    with pytest.raises(InvalidRequest, match=r"; \d+ rows were dropped for a missing value; .*: \w+ \(100.0%\)"):
        built("dropped", missing="drop")


def test_a_dataset_built_again_has_the_same_bytes_and_a_changed_file_is_told(
    build: Dataset, place: BuildPlace, tmp_path: Path
) -> None:
    found = verify_dataset(build.path, place, tmp_path / "again")
    assert found.is_exact
    assert set(found.identical) == {
        "train.parquet",
        "validation.parquet",
        "test.parquet",
        "_profile.json",
        "_quality.json",
        "_report.html",
    }
    assert found.changed == ()
    path = build.path / "test.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    found = verify_dataset(build.path, place, tmp_path / "third")
    assert not found.is_exact
    assert found.tampered == ("test.parquet",)


def test_the_manifest_names_all_that_made_the_dataset(build: Dataset, place: BuildPlace) -> None:
    manifest = build.manifest
    assert manifest_request(manifest) == REQUEST
    assert manifest["label_price"] == dict.fromkeys(SYMBOLS, "mid_price")
    assert manifest["libraries"]["numpy"] == np.__version__
    for root, entries in (
        (place.raw.parquet.folder, manifest["raw_partitions"]),
        (place.features.folder, manifest["feature_partitions"]),
    ):
        assert entries
        for entry in entries:
            assert file_entry(root / entry["path"], root) == entry
    for each in manifest["continuity"]:
        assert each["actual_coverage_ratio"] > 0.9
    assert (build.path / "_quality.json").is_file()
    assert (build.path / "_report.html").is_file()


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
