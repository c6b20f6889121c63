"""Entity rows in Parquet files have the answers of the same rows in a frame, read a part at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from feast import FeatureView
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage

from feature_repo.retrieval_job import AsOfRetrievalJob
from feature_repo.selected_files import SelectedFile
from market.errors import InvalidRequest, NotFound, StoreUnavailable
from storage.objects.path import ObjectPath
from tests.driver_tables import DRIVER, MakeStore, driver_view, stored
from tests.ray_cluster import Cluster
from tests.s3_server import FaultProxy
from tests.stored_books import at

NAMES = ["driver_stats:trips", "driver_stats:rate"]
COUNT = 50


@pytest.fixture
def asked() -> pd.DataFrame:
    """Every third asks for a driver that there is not; times go up and down."""
    times = [at(number * 37 % 200) for number in range(COUNT)]
    return pd.DataFrame({"driver_id": np.arange(COUNT) % 3, "event_timestamp": times, "order": np.arange(COUNT)})


@pytest.fixture(params=["file", "folder", "hive"])
def path(request: pytest.FixtureRequest, tmp_path: Path, asked: pd.DataFrame) -> Path:
    """The entity rows as files, row groups of seven rows; a hive path spells the driver."""
    root = tmp_path / "asked"
    table = pa.Table.from_pandas(asked, preserve_index=False)
    if request.param == "file":
        root = root.with_suffix(".parquet")
        pq.write_table(table, root, row_group_size=7)
        return root
    root.mkdir()
    if request.param == "folder":
        for at_file, begin in enumerate(range(0, COUNT, 20)):
            pq.write_table(table.slice(begin, 20), root / f"part-{at_file}.parquet", row_group_size=7)
        return root
    for driver in range(3):
        (root / f"driver_id={driver}").mkdir()
        rows = table.filter(pa.array(asked["driver_id"] == driver)).drop_columns(["driver_id"])
        pq.write_table(rows, root / f"driver_id={driver}" / "part.parquet", row_group_size=7)
    return root


def sorted_rows(table: pa.Table) -> pa.Table:
    """In the order of the frame, columns too: a hive path has another."""
    return table.select(["driver_id", "event_timestamp", "order", "trips", "rate"]).sort_by("order")


def job_of(found: object) -> AsOfRetrievalJob:
    assert isinstance(found, AsOfRetrievalJob)
    return found


def test_rows_in_files_have_the_answers_of_a_frame(
    make_store: MakeStore, drivers: FeatureView, asked: pd.DataFrame, path: Path, tmp_path: Path
) -> None:
    store = make_store(DRIVER, drivers)
    expected = store.get_historical_features(asked, NAMES).to_arrow().sort_by("order")
    job = job_of(store.get_historical_features(str(path), NAMES))
    whole = job.to_arrow()
    assert sorted_rows(whole).to_pylist() == expected.to_pylist()
    for max_rows in (3, 10, 1000):
        parts = list(job.to_arrow_batches(max_rows))
        assert pa.concat_tables(parts).equals(whole)
        assert max(part.num_rows for part in parts) <= max_rows
    job.persist(SavedDatasetFileStorage(path=str(tmp_path / "answers.parquet")))
    assert pq.read_table(tmp_path / "answers.parquet").equals(whole)
    assert job.metadata is not None
    assert (job.metadata.min_event_timestamp, job.metadata.max_event_timestamp) == (
        asked["event_timestamp"].min(),
        asked["event_timestamp"].max(),
    )
    assert job.to_provenance().num_rows == COUNT


def test_a_part_in_order_of_time_reads_the_row_groups_that_may_answer_it(
    make_store: MakeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand rows in 100 row groups, a time to live of two, 20 parts: each reads its five and those before."""
    count = 1000
    held = {"driver_id": [1] * count, "trips": list(range(count)), "rate": [0.5] * count}
    source = stored(tmp_path / "long.parquet", held, list(range(count)), list(range(count)))
    pq.write_table(pq.read_table(source), source, row_group_size=10)
    view = driver_view(source)
    view.ttl = pd.Timedelta(seconds=20).to_pytimedelta()
    asked = pd.DataFrame({"driver_id": 1, "event_timestamp": [at(number) for number in range(count)]})
    asked.to_parquet(tmp_path / "asked.parquet")
    store, read = make_store(DRIVER, view), 0
    reading = SelectedFile.read

    def counted(file: SelectedFile, types: object, **options: object) -> Iterator[pa.Table]:
        nonlocal read
        only = options.get("only")
        read += len(file.row_counts) if only is None else len(only)  # type: ignore[arg-type]  # a sequence
        return reading(file, types, **options)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(SelectedFile, "read", counted)
    job = job_of(store.get_historical_features(str(tmp_path / "asked.parquet"), NAMES))
    answers = pa.concat_tables(job.to_arrow_batches(50))
    assert answers["trips"].to_pylist() == list(range(count))
    assert read <= 20 * (2 * (5 + 3) + 1)


def test_rows_in_an_object_store_have_the_answers_of_a_frame(
    make_store: MakeStore, drivers: FeatureView, asked: pd.DataFrame, object_place: ObjectPath
) -> None:
    address = f"{object_place}/asked.parquet"
    filesystem, path = pafs.FileSystem.from_uri(address)
    pq.write_table(pa.Table.from_pandas(asked, preserve_index=False), path, filesystem=filesystem, row_group_size=7)
    store = make_store(DRIVER, drivers)
    job = job_of(store.get_historical_features(address, NAMES))
    assert pa.concat_tables(job.to_arrow_batches(20)).equals(store.get_historical_features(asked, NAMES).to_arrow())


def test_an_object_store_that_does_not_answer_is_no_damaged_file(
    make_store: MakeStore, drivers: FeatureView, asked: pd.DataFrame, object_place: ObjectPath, s3: FaultProxy
) -> None:
    address = f"{object_place}/asked.parquet"
    filesystem, path = pafs.FileSystem.from_uri(address)
    pq.write_table(pa.Table.from_pandas(asked, preserve_index=False), path, filesystem=filesystem)
    store = make_store(DRIVER, drivers)
    s3.refusal = (503, "SlowDown", "As it is told.", f"GET /{path}")
    with pytest.raises(StoreUnavailable, match=r"asked\.parquet: its object store must answer, did not: .*GetObject"):
        job_of(store.get_historical_features(address, NAMES)).to_arrow()


def test_a_path_that_cannot_be_read_is_told(make_store: MakeStore, drivers: FeatureView, tmp_path: Path) -> None:
    store = make_store(DRIVER, drivers)
    with pytest.raises(NotFound, match=r"entity_df: file or folder must exist, was .*/nothing\.parquet"):
        store.get_historical_features(str(tmp_path / "nothing.parquet"), NAMES)
    pq.write_table(pa.table({"driver_id": [1]}), tmp_path / "timeless.parquet")
    with pytest.raises(InvalidRequest, match=r"entity_df: must have the column event_timestamp"):
        store.get_historical_features(str(tmp_path / "timeless.parquet"), NAMES)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidRequest, match=r"entity_df: must be Parquet with columns, was .*/empty"):
        store.get_historical_features(str(tmp_path / "empty"), NAMES)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray Data itself, at its import
@pytest.mark.soak  # a cluster that imports Feast on its nodes
def test_a_ray_dataset_has_the_answers_of_a_table(
    make_store: MakeStore, drivers: FeatureView, asked: pd.DataFrame, tmp_path: Path
) -> None:
    import ray

    asked.to_parquet(tmp_path / "asked.parquet", row_group_size=7)
    store = make_store(DRIVER, drivers)
    with Cluster(cpus=2) as cluster:
        ray.init(address=cluster.address, log_to_driver=False)
        try:
            for entities, count in ((asked, 3), (str(tmp_path / "asked.parquet"), 4)):  # of two row groups each
                job = job_of(store.get_historical_features(entities, NAMES))
                blocks = job.to_ray_dataset(20)
                assert blocks.num_blocks() == count
                assert pa.concat_tables(ray.get(blocks.to_arrow_refs())).equals(job.to_arrow())
        finally:
            ray.shutdown()
