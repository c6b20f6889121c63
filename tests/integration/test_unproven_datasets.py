"""A dataset whose rows cannot be checked for leakage says so, and is none when not one of them could be."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from feature_repo.registry_versions import load_registry_version
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS
from market.clock import MINUTE_NS, SECOND_NS, parse_iso_ns
from market.errors import InvalidRequest
from runtime.commands.options import settings_for
from runtime.stores import open_stores
from storage.places import local
from tests.build_places import GATED, UNGATED, place_in
from tests.half_compacted import half_compacted
from training_sets.builds.builder import build_dataset
from training_sets.builds.place import BuildPlace
from training_sets.checks.drawn import LEAST_DRAWN
from training_sets.rebuild.raw_history import RawHistory
from training_sets.request.folds import TimeBased, default_periods
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import RegressionTarget
from transforms.kernel import Kernel, compile_kernel

START_NS = parse_iso_ns("2026-01-05T12:00:00")
DURATION_NS = 3 * MINUTE_NS
REQUEST = DatasetRequest(
    symbols=("BTCUSDT",),
    strategy=TimeBased(default_periods(START_NS, START_NS + DURATION_NS)),
    targets=(RegressionTarget(5 * SECOND_NS),),
    registry_version="1.0.0",
)


@pytest.fixture(scope="module")
def kernel(kernel_cache: Path) -> Kernel:
    kernel = compile_kernel(load_registry_version("1.0.0").feature_set, kernel_cache)
    kernel.warm_up()
    return kernel


@pytest.fixture
def place(tmp_path: Path, kernel: Kernel, kernel_cache: Path) -> Iterator[BuildPlace]:
    """A folder whose first minute is compacted, and whose worker goes on: what came since is on the open tape alone."""
    settings = settings_for(tmp_path)
    raw, features = settings.raw_folder, local(settings.feature_log_storage_path)
    unproven = place_in(tmp_path, kernel_cache, raw=raw, features=features, rules=UNGATED)
    with half_compacted(
        settings, kernel, DEFAULT_SYMBOLS[:1], start_ns=START_NS, cut_ns=MINUTE_NS, duration_ns=DURATION_NS
    ):
        yield dataclasses.replace(unproven, raw=open_stores(settings).raw)


def without_tape(place: BuildPlace) -> BuildPlace:
    return dataclasses.replace(place, raw=RawHistory.of(place.raw.parquet))


def test_rows_are_checked_by_the_open_tape_where_raw_parquet_ends_before_them(
    place: BuildPlace, tmp_path: Path
) -> None:
    manifest = build_dataset(REQUEST, place, tmp_path / "dataset").manifest
    leakage = manifest["leakage"]
    assert leakage["rows_rebuilt_from_their_past"] == leakage["rows_drawn"] >= LEAST_DRAWN
    assert leakage["rows_not_checked"] == {}
    assert not [warning for warning in manifest["warnings"] if "not checked" in warning]


def test_rows_that_could_not_be_checked_are_a_warning_in_manifest_and_report(place: BuildPlace, tmp_path: Path) -> None:
    by_parquet = dataclasses.replace(without_tape(place), rules=GATED)
    built = build_dataset(REQUEST, by_parquet, tmp_path / "dataset")
    reason = "BTCUSDT: raw data ends before the row"
    [(told, count)] = built.manifest["leakage"]["rows_not_checked"].items()
    assert told == reason
    # Rows all over the three minutes, the last two of which are not in raw Parquet.
    drawn = built.manifest["leakage"]["rows_drawn"]
    assert 0.55 < count / drawn < 0.8
    all_rows = sum(built.records.values())
    # Three minutes are too short to tell foresight from chance.
    too_few = (
        f"leakage: {all_rows} of {all_rows} rows were not searched for columns that know labels or next values, fewer "
        "than 500 of a symbol and file"
    )
    warnings = [f"leakage: {count} of {drawn} rows were not checked, {reason}", too_few]
    assert [told for told in built.manifest["warnings"] if told.startswith("leakage")] == warnings
    report = (built.path / "_report.html").read_text()
    assert all(warning in report for warning in warnings)


def test_a_dataset_of_which_nothing_could_be_checked_is_refused_unless_it_is_asked_for(
    place: BuildPlace, tmp_path: Path
) -> None:
    late = dataclasses.replace(
        REQUEST, strategy=TimeBased(default_periods(START_NS + 80 * SECOND_NS, START_NS + DURATION_NS))
    )
    by_parquet = without_tape(place)
    with pytest.raises(InvalidRequest, match=r"none could be: BTCUSDT: raw data ends before the row \(\d+ rows\)"):
        build_dataset(late, by_parquet, tmp_path / "refused")
    unchecked = dataclasses.replace(late, check_leakage=False)
    assert build_dataset(unchecked, by_parquet, tmp_path / "dataset").manifest["leakage"] is None
