"""A request whose dataset stands is answered with it, and never with one that would be made otherwise now."""

from __future__ import annotations

import dataclasses
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from sqlalchemy import make_url

from feature_repo.registry_versions import load_registry_version
from market.clock import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS, SystemClock
from quality.continuity import ContinuityRules
from storage.database.job_queue import JobQueue
from storage.database.metadata import Metadata
from storage.database.migration import upgrade
from storage.features.log import FeatureLogWriter
from storage.raw import raw_data
from storage.raw.manifest import RawPart, read_entry
from tests.build_places import UNGATED
from tests.commands import feature_service
from tests.postgres_servers import run
from tests.real_candles import BEGIN_NS, DAY_CANDLES, SYMBOL, Candle, recorded_candles, write_day
from tests.standing import BEGIN_OF_SAMPLES_NS, REQUEST, damage, inputs_in, is_standing, opened, place_of
from training_sets.builds.builder import Dataset, build_dataset
from training_sets.builds.notices import Announcer, InProcessNotices
from training_sets.dataset.datasets import Datasets
from training_sets.dataset.inputs import DatasetRules
from training_sets.dataset.manifest import MANIFEST_NAME
from training_sets.dataset.usage import datasets_of
from training_sets.request.request import DatasetRequest
from training_sets.request.targets import RiskAdjustedTarget
from transforms.rows import FeatureRows


@pytest.fixture(scope="module")
def candles(recorded_data: Path) -> list[Candle]:
    return recorded_candles(recorded_data, 4 * DAY_CANDLES)


@pytest.fixture(scope="module")
def standing(candles: list[Candle], kernel_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with raw data of four days, the features of those that count, and the dataset."""
    folder = tmp_path_factory.mktemp("standing")
    for day in range(4):
        write_day(folder / "raw", day, candles[day * DAY_CANDLES : (day + 1) * DAY_CANDLES])
    build_dataset(REQUEST, place_of(folder, kernel_cache), folder / "dataset")
    return folder


@pytest.fixture
def copy(standing: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(standing, tmp_path / "copy"))


def test_a_dataset_is_made_of_its_periods_and_of_the_days_that_its_features_look_back_on(standing: Path) -> None:
    def used(first_ns: int, last_ns: int, symbol: str = SYMBOL) -> list[str]:
        return datasets_of(Datasets(standing), symbol, first_ns, last_ns)

    end_ns = BEGIN_OF_SAMPLES_NS + 20 * HOUR_NS
    assert used(BEGIN_OF_SAMPLES_NS, BEGIN_OF_SAMPLES_NS) == ["dataset"]
    assert used(end_ns, end_ns + 5 * MINUTE_NS - 1) == ["dataset"]
    # A day of candles is behind the first sample; nothing of the first day, and nothing after the last label.
    assert used(BEGIN_NS + DAY_NS, BEGIN_NS + DAY_NS) == ["dataset"]
    assert used(0, BEGIN_NS - 1) == []
    assert used(BEGIN_NS + 4 * DAY_NS, 2**62) == []
    assert used(0, 2**62, "ETHUSDT") == []


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"request": {"symbols": ["BTCUSDT"]}}'])
def test_a_dataset_whose_manifest_cannot_be_read_may_be_made_of_anything(tmp_path: Path, content: str) -> None:
    (tmp_path / "d17").mkdir()
    (tmp_path / "d17" / MANIFEST_NAME).write_text(content)
    (found,) = datasets_of(Datasets(tmp_path), SYMBOL, 0, 1)
    assert found.startswith(f"d17 ({tmp_path / 'd17' / MANIFEST_NAME}: must be a manifest, was ")


def test_what_a_dataset_is_made_of_is_archived_with_a_word_and_not_deleted(copy: Path, tmp_path: Path) -> None:
    (copy / "datasets").mkdir()
    (copy / "dataset").rename(copy / "datasets" / "d17")
    files = sorted(path for path in (copy / "features").rglob("*.parquet"))
    assert files
    code, refused = feature_service("tape", "delete", "--data", copy)
    assert (code, refused["error"]) == (1, "Conflict")
    assert "was used by d17" in refused["message"]
    assert sorted((copy / "features").rglob("*.parquet")) == files

    archive = ("tape", "archive", "--to", tmp_path / "archive", "--data", copy)
    code, (archived,) = feature_service(*archive)
    assert (code, archived["used_by"]) == (0, ["d17"])
    assert archived["parts"] > 0
    assert archived["feature_days"] > 0
    assert list((copy / "features").rglob("*.parquet")) == []
    code, restored = feature_service(
        "tape", "restore", "--from", tmp_path / "archive", "--symbol", SYMBOL, "--data", copy
    )
    assert (code, restored["feature_days"], restored["parts"]) == (0, archived["feature_days"], archived["parts"])
    assert sorted((copy / "features").rglob("*.parquet")) == files
    code, (deleted,) = feature_service("tape", "delete", "--even-used", "--data", copy)
    assert (code, deleted["feature_days"], deleted["used_by"]) == (0, archived["feature_days"], ["d17"])
    assert list((copy / "features").rglob("*.parquet")) == []


def test_a_dataset_stands_wherever_its_folders_lie(copy: Path) -> None:
    assert is_standing(copy)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "dataset" / "train.parquet").unlink(),
        lambda folder: damage(folder / "dataset" / "test.parquet"),
        lambda folder: (folder / "dataset" / MANIFEST_NAME).unlink(),
        lambda folder: (folder / "dataset" / MANIFEST_NAME).write_text("{"),
        lambda folder: shutil.rmtree(folder / "dataset"),
        lambda folder: damage(next(folder.glob("features/technical/*/*/date=2026-01-03/*.parquet"))),
        lambda folder: next(folder.glob("features/technical/*/*/date=2026-01-03/*.parquet")).unlink(),
    ],
    ids=["file gone", "file damaged", "manifest gone", "manifest damaged", "folder gone", "day damaged", "day gone"],
)
def test_a_dataset_whose_files_or_feature_days_changed_does_not_stand(
    copy: Path, change: Callable[[Path], object]
) -> None:
    assert is_standing(copy)
    change(copy)
    assert not is_standing(copy)


@pytest.mark.parametrize("day", [1, 2], ids=["the day of its horizon", "its day"])
def test_a_dataset_whose_raw_data_changed_does_not_stand(copy: Path, candles: list[Candle], day: int) -> None:
    write_day(copy / "raw", day, candles[DAY_CANDLES // 2 : DAY_CANDLES // 2 + DAY_CANDLES])
    assert not is_standing(copy)


def test_a_dataset_stands_when_raw_data_of_another_time_changed(copy: Path, candles: list[Candle]) -> None:
    write_day(copy / "raw", 3, candles[DAY_CANDLES // 2 : DAY_CANDLES // 2 + DAY_CANDLES])
    assert is_standing(copy)


@pytest.mark.parametrize(("hours", "stands"), [(22, True), (20, False)], ids=["after it", "within it"])
def test_a_dataset_of_a_past_period_stands_while_its_last_day_is_served_on(
    copy: Path,
    hours: int,
    stands: bool,  # noqa: FBT001  # a case
) -> None:
    chosen = load_registry_version(REQUEST.registry_version).feature_set
    row_ns = BEGIN_NS + 2 * DAY_NS + hours * HOUR_NS + np.arange(60, dtype=np.int64) * SECOND_NS
    values, status = np.zeros((60, len(chosen.columns))), np.zeros((60, len(chosen.groups)), np.int8)
    with FeatureLogWriter(copy / "features") as log:
        log.append(FeatureRows(SYMBOL, chosen, row_ns, values, status), row_ns)
    assert is_standing(copy) == stands


def test_a_dataset_does_not_stand_for_other_settings_versions_or_requests(standing: Path) -> None:
    assert not is_standing(standing, rules=dataclasses.replace(UNGATED, continuity=ContinuityRules(min_coverage=0.5)))
    assert not is_standing(standing, rules=DatasetRules())
    assert not is_standing(standing, request=dataclasses.replace(REQUEST, registry_version="1.0.0"))
    assert not is_standing(standing, request=dataclasses.replace(REQUEST, embargo_ns=MINUTE_NS))
    assert is_standing(standing)
    assert not is_standing(standing, feature_set="another fingerprint")
    assert not is_standing(standing, libraries={"python": "3.0.0"})
    assert not is_standing(standing, code="other code")


def test_the_days_that_a_volatility_window_looks_back_on_are_inputs(standing: Path) -> None:
    wide = dataclasses.replace(
        REQUEST,
        targets=(RiskAdjustedTarget(5 * MINUTE_NS, volatility_window_ns=2 * HOUR_NS),),
    )

    def dates(request: DatasetRequest) -> set[str]:
        inputs = inputs_in(standing, request)
        return {entry["path"].split("/")[3] for entry in inputs["feature_partitions"]}

    assert dates(REQUEST) == {"date=2026-01-03"}
    # Nothing is there of the day before: its coming would be told.
    before = next(standing.glob("features/technical/*/*/date=2026-01-03")).with_name("date=2026-01-02")
    before.mkdir()
    shutil.copy(next(before.with_name("date=2026-01-03").glob("*.parquet")), before)
    try:
        assert dates(wide) == {"date=2026-01-02", "date=2026-01-03"}
        assert dates(REQUEST) == {"date=2026-01-03"}
    finally:
        shutil.rmtree(before)


@pytest.fixture
def database(postgres_url: str) -> Iterator[str]:
    server, name = make_url(postgres_url), f"standing_{uuid4().hex}"
    run(server, f"CREATE DATABASE {name} TEMPLATE template0")
    url = server.set(database=name).render_as_string(hide_password=False)
    upgrade(url)
    try:
        yield url
    finally:
        run(server, f"DROP DATABASE {name} WITH (FORCE)")


def test_what_stands_is_given_at_once_and_told_of_again_until_its_raw_data_changes(
    copy: Path, candles: list[Candle], kernel_cache: Path, database: str
) -> None:
    metadata, notices = Metadata(database), InProcessNotices()
    steps: list[str] = []

    def build() -> Dataset:
        steps.clear()
        return builds.build(REQUEST, on_step=steps.append)

    try:
        with opened(copy, kernel_cache, metadata, database, notices) as builds:
            first = build()
            assert not first.is_reused
            again = build()
            assert (again.is_reused, again.path, again.records) == (True, first.path, first.records)
            assert steps == [f"taking dataset {first.path.name}, the same request"]
            record = builds.start(REQUEST)
            assert (record.status, record.dataset_id) == ("ready", first.path.name)
            assert len(metadata.list_datasets()) == 1
            assert JobQueue(database).unfinished() == []
            Announcer(metadata, notices, SystemClock()).announce()
            assert [notice["dataset_id"] for notice in notices.sent] == [first.path.name] * 2
            write_day(copy / "raw", 2, candles[DAY_CANDLES // 2 : DAY_CANDLES // 2 + DAY_CANDLES])
            other = build()
            assert not other.is_reused
            assert other.path != first.path
            assert (other.path / "train.parquet").read_bytes() != (first.path / "train.parquet").read_bytes()
            assert build().path == other.path
            builds.delete(other.path.name)
            rebuilt = build()
            assert not rebuilt.is_reused
            assert (rebuilt.path / "train.parquet").is_file()
    finally:
        metadata.close()


def test_a_build_reads_each_entry_of_the_manifest_once(
    candles: list[Candle], kernel_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in range(4):
        write_day(tmp_path / "raw", day, candles[day * DAY_CANDLES : (day + 1) * DAY_CANDLES])
    read: Counter[str] = Counter()

    def counting(path: Path, symbol: str) -> RawPart:
        read[path.name] += 1
        return read_entry(path, symbol)

    monkeypatch.setattr(raw_data, "read_entry", counting)
    place = place_of(tmp_path, kernel_cache)
    build_dataset(REQUEST, place, tmp_path / "dataset")
    assert set(read.values()) == {1}
    assert len(read) == 4
    build_dataset(REQUEST, place, tmp_path / "again")
    assert read.total() == 4
    write_day(tmp_path / "raw", 3, candles[:DAY_CANDLES])
    place.raw.parquet.parts(SYMBOL)
    assert read.total() == 5
