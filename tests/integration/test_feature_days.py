"""Datasets of real candles from raw data alone: missing days are computed once, labels are a plain oracle's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.registry_versions import load_registry_version
from market.clock import DAY_NS, HOUR_NS, MINUTE_NS
from market.errors import InvalidRequest
from quality.relations import Relation
from storage.features.history_lags import AVAILABILITY_DELAY_NS
from storage.features.log import FeatureLog, FeatureLogWriter
from storage.features.rebuilt_days import cached_days
from storage.raw.raw_data import RawData
from tests.build_places import UNGATED, place_in
from tests.real_candles import BEGIN_NS, DAY_CANDLES, SYMBOL, Candle, recorded_candles, write_day
from training_sets.builds.admission import check_request
from training_sets.builds.builder import Dataset, build_dataset
from training_sets.builds.feature_days import make_features
from training_sets.builds.place import BuildPlace
from training_sets.checks import foresight
from training_sets.dataset import relations
from training_sets.last_used import LastUsed
from training_sets.rebuild.rebuild import rebuild_rows
from training_sets.request.folds import Period, PurgedCombinations, Strategy, TimeBased, WalkForward, default_periods
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import ClassificationTarget, RegressionTarget
from transforms.kernel import compile_kernel
from transforms.rows import FeatureSet

VERSION = "1.2.0"
HORIZON_NS = 5 * MINUTE_NS
DAYS = 3
TECHNICAL = "technical/*/symbol=BTCUSDT/*/*.parquet"
FIRST_DAY_NS = BEGIN_NS + DAY_NS
"""The day after the first: a day of candles is behind it."""


@pytest.fixture(scope="module")
def candles(recorded_data: Path) -> list[Candle]:
    return recorded_candles(recorded_data, (DAYS + 1) * DAY_CANDLES)


def place_of(folder: Path, raw_folder: Path, kernel_cache: Path) -> BuildPlace:
    # The recording of candles has no funding, so that a column is unknown throughout.
    return place_in(folder, kernel_cache, raw=raw_folder, rules=UNGATED)


@pytest.fixture(scope="module")
def raw_folder(candles: list[Candle], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("candles") / "raw"
    for day in range(DAYS + 1):
        write_day(folder, day, candles[day * DAY_CANDLES : (day + 1) * DAY_CANDLES])
    return folder


def request_of(strategy: Strategy, **changes: Any) -> DatasetRequest:  # noqa: ANN401  # fields of the request
    return dataclasses.replace(
        DatasetRequest(
            (SYMBOL,),
            strategy,
            (RegressionTarget(HORIZON_NS, name="change"), ClassificationTarget(HORIZON_NS, MINUTE_NS, name="side")),
            VERSION,
            sample_interval_ns=MINUTE_NS,
        ),
        **changes,
    )


def days_of(first: int, count: int) -> DatasetRequest:
    """Whole days after the first, split by time."""
    start_ns = BEGIN_NS + first * DAY_NS
    return request_of(TimeBased(default_periods(start_ns, start_ns + count * DAY_NS)))


def check_rows(built: Dataset, request: DatasetRequest, closes: list[float]) -> None:
    """Rows conserved, nothing overlaps, time runs forward, and every label is what a plain list of closes gives."""
    manifest = built.manifest
    usable = manifest["rows_sampled"] - manifest["rows_without_features"] - manifest["rows_without_label"]
    for at, fold in enumerate(manifest["folds"]):
        assert sum(split[name] for split in fold["splits"] for name in ("records", "purged", "embargoed")) <= usable
        for split in fold["splits"]:
            assert not split["overlaps_next"]
            path = built.path / ("" if fold["fold"] is None else f"fold-{at:03d}") / f"{split['name']}.parquet"
            table = pq.read_table(path, partitioning=None)
            times_ns = table.column("timestamp").cast(pa.int64()).to_numpy()
            assert len(times_ns) == split["records"]
            assert (np.diff(times_ns) > 0).all()
            minutes = (times_ns - BEGIN_NS) // MINUTE_NS
            # The candle that ends at minute m is candle m - 1.
            for minute, change, side in zip(
                minutes.tolist(), table.column("change").to_pylist(), table.column("side").to_pylist(), strict=True
            ):
                assert change == closes[minute + 4] / closes[minute - 1] - 1.0
                delayed = closes[minute + 5] / closes[minute] - 1.0
                assert side == (1.0 if delayed > 0.001 else -1.0 if delayed < -0.001 else 0.0)
    if manifest["strategy"] == "time_based":
        kept = sum(split[name] for split in manifest["splits"] for name in ("records", "purged", "embargoed"))
        assert kept == usable
    assert request.label_reach_ns == HORIZON_NS + MINUTE_NS


@pytest.mark.parametrize(
    "strategy",
    [
        TimeBased(default_periods(FIRST_DAY_NS, FIRST_DAY_NS + 2 * DAY_NS)),
        WalkForward(FIRST_DAY_NS, FIRST_DAY_NS + 3 * DAY_NS, DAY_NS, DAY_NS, DAY_NS),
        PurgedCombinations(FIRST_DAY_NS, FIRST_DAY_NS + 2 * DAY_NS, 4, 2),
    ],
    ids=["time_based", "walk_forward", "cpcv"],
)
def test_a_dataset_of_real_candles_is_made_from_raw_data_alone(
    raw_folder: Path,
    candles: list[Candle],
    kernel_cache: Path,
    tmp_path: Path,
    strategy: Strategy,
) -> None:
    request = request_of(strategy)
    place = place_of(tmp_path, raw_folder, kernel_cache)
    built = build_dataset(request, place, tmp_path / "dataset")
    assert built.days_computed > 0
    assert set(built.manifest["label_price"].values()) == {"kline_close"}
    check_rows(built, request, [float(candle.close) for candle in candles])
    known = pq.read_table(built.path / built.manifest["files"][next(iter(built.manifest["files"]))]["path"])
    assert np.isfinite(known.column("rsi_14").to_numpy()).all()


def test_computed_days_are_used_again_and_one_more_day_computes_one(
    raw_folder: Path, kernel_cache: Path, tmp_path: Path
) -> None:
    place = place_of(tmp_path, raw_folder, kernel_cache)

    def built(name: str, request: DatasetRequest, **rules: Any) -> Dataset:  # noqa: ANN401  # fields of the place
        return build_dataset(request, dataclasses.replace(place, **rules), tmp_path / name)

    # The first sample of a day looks back a minute, into the day before.
    first = built("first", days_of(2, 1))
    assert (first.days_computed, first.days_reused) == (3, 0)
    again = built("again", days_of(2, 1))
    assert (again.days_computed, again.days_reused) == (0, 3)
    assert (again.path / "train.parquet").read_bytes() == (first.path / "train.parquet").read_bytes()
    longer = built("longer", days_of(1, 2))
    assert (longer.days_computed, longer.days_reused) == (1, 3)
    # Of its samples those of the second day were kept by the builds before.
    anew = built("longer anew", days_of(1, 2), reuses_samples=False)
    for name in longer.manifest["files"]:
        path = longer.manifest["files"][name]["path"]
        assert (anew.path / path).read_bytes() == (longer.path / path).read_bytes()
    uncached = built("uncached", days_of(2, 1), reuses_days=False)
    assert (uncached.days_computed, uncached.days_reused) == (3, 0)
    assert (uncached.path / "train.parquet").read_bytes() == (first.path / "train.parquet").read_bytes()
    other_version = built("other version", dataclasses.replace(days_of(2, 1), registry_version="1.0.0"))
    assert other_version.days_computed == 3
    # A group's day is one file, which answers both versions.
    assert (built("as before", days_of(2, 1)).days_computed, len(list(place.features.folder.glob(TECHNICAL)))) == (0, 4)
    [cached] = cached_days(FeatureLog(place.features.folder))
    assert (cached.symbol, len(cached.dates)) == (SYMBOL, 4)


def test_a_day_served_for_fewer_columns_is_computed_for_more_of_them(
    raw_folder: Path, kernel_cache: Path, tmp_path: Path
) -> None:
    place = place_of(tmp_path, raw_folder, kernel_cache)
    fewer = compile_kernel(load_registry_version("1.0.0").feature_set, kernel_cache)
    begin_ns, end_ns = BEGIN_NS + DAY_NS - HOUR_NS, BEGIN_NS + 2 * DAY_NS + HOUR_NS
    rows = rebuild_rows(RawData(raw_folder), SYMBOL, fewer, from_ns=begin_ns, to_ns=end_ns)
    with FeatureLogWriter(place.features.folder) as log:
        # Later than a rebuilt row counts as available.
        log.append(rows, rows.row_ns + 2 * AVAILABILITY_DELAY_NS)
    built = build_dataset(days_of(1, 1), place, tmp_path / "dataset")
    assert built.days_computed > 0
    assert np.isfinite(pq.read_table(built.path / "train.parquet").column("rsi_14").to_numpy()).all()


def test_a_day_whose_raw_data_changed_is_never_served_as_it_was(
    candles: list[Candle], kernel_cache: Path, tmp_path: Path
) -> None:
    raw = tmp_path / "raw"
    for day in range(3):
        write_day(raw, day, candles[day * DAY_CANDLES : (day + 1) * DAY_CANDLES])
    place = place_of(tmp_path, raw, kernel_cache)
    before = build_dataset(days_of(1, 1), place, tmp_path / "before")
    assert build_dataset(days_of(1, 1), place, tmp_path / "same").days_computed == 0
    # Other candles take the place of the second day's.
    write_day(raw, 1, candles[DAY_CANDLES // 2 : DAY_CANDLES // 2 + DAY_CANDLES])
    after = build_dataset(days_of(1, 1), place, tmp_path / "after")
    assert after.days_computed >= 1
    rsi = [pq.read_table(each.path / "train.parquet").column("rsi_14").to_numpy() for each in (before, after)]
    assert not np.array_equal(rsi[0], rsi[1])
    kernel = compile_kernel(load_registry_version(VERSION).feature_set, kernel_cache)
    times = pq.read_table(after.path / "train.parquet").column("timestamp").cast(pa.int64()).to_numpy()
    rows = rebuild_rows(RawData(raw), SYMBOL, kernel, from_ns=int(times[0]), to_ns=int(times[-1]))
    at = np.searchsorted(rows.row_ns, times)
    assert np.array_equal(rsi[1], rows.values[at, kernel.feature_set.columns.index("rsi_14")], equal_nan=True)


def test_a_period_with_a_day_that_has_no_data_is_refused_by_its_date(candles: list[Candle], tmp_path: Path) -> None:
    for day in (0, 1, 3):
        write_day(tmp_path / "raw", day, candles[day * DAY_CANDLES : (day + 1) * DAY_CANDLES])

    place = place_in(tmp_path, tmp_path / "kernels")

    def check(request: DatasetRequest) -> FeatureSet:
        return check_request(request, place, now_ns=BEGIN_NS + 30 * DAY_NS).chosen

    assert check(days_of(0, 1)).version == VERSION
    with pytest.raises(
        InvalidRequest,
        match=r"BTCUSDT: must have data for every day of the periods, 1 without data: 2026-01-03; "
        r"BTCUSDT has rows from 2026-01-01T00:01:02Z to 2026-01-05T00:00:01Z",
    ):
        check(days_of(0, 4))
    with pytest.raises(InvalidRequest, match=r"train .* must reach into the rows of every symbol; BTCUSDT has rows"):
        check(days_of(10, 1))
    begun = days_of(0, 1).strategy
    assert isinstance(begun, TimeBased)
    later_ns = BEGIN_NS + 30 * DAY_NS
    test = Period("test", later_ns, later_ns + DAY_NS)
    told = r"test period: must have begun by now, 2026-01-31T00:00:00Z, was test \[2026-01-31T00:00:00Z"
    with pytest.raises(InvalidRequest, match=told):
        check(request_of(TimeBased((*begun.periods[:2], test))))


def test_progress_runs_to_one_and_what_it_raises_ends_the_work(
    raw_folder: Path, kernel_cache: Path, tmp_path: Path
) -> None:
    chosen = load_registry_version(VERSION).feature_set
    place = place_in(tmp_path, kernel_cache, raw=raw_folder)

    def made(on_progress: Callable[[float], None]) -> object:
        return make_features(days_of(1, 2), chosen, place, on_progress=on_progress)

    def cancel(_share: float) -> None:
        raise InvalidRequest("cancelled")

    with pytest.raises(InvalidRequest, match="cancelled"):
        made(cancel)
    [after_one] = cached_days(FeatureLog(tmp_path / "features"))
    assert len(after_one.dates) == 1
    shares: list[float] = []
    made(shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert len(shares) == 4


def test_what_a_process_remembers_of_earlier_builds_changes_no_file(
    tmp_path: Path, raw_folder: Path, kernel_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = build_dataset(days_of(1, 2), place_in(tmp_path / "a", kernel_cache, raw=raw_folder), tmp_path / "alone")
    monkeypatch.setattr(relations, "_known", LastUsed[bytes, list[list[Relation]]](relations.MOST_KNOWN))
    foresight._clean.clear()
    # The same rows in another place, where a build of the period one day later, half of it the same, came before.
    place = place_in(tmp_path / "b", kernel_cache, raw=raw_folder)
    build_dataset(days_of(2, 2), place, tmp_path / "before")
    after = build_dataset(days_of(1, 2), place, tmp_path / "after")
    assert alone.manifest["quality"]["files"] == after.manifest["quality"]["files"]
    for stated in ("files", "profile", "splits", "records"):
        assert alone.manifest[stated] == after.manifest[stated]
