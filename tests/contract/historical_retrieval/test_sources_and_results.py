"""Every layout of a source gives the same values to the bit, and a long result is not held as a whole."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from feast import FeatureView, Field
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.types import Float64, Int64, String

from feature_repo.retrieval_job import AsOfRetrievalJob
from market.errors import CorruptStore
from tests.driver_tables import CUSTOMER, DRIVER, NAN, MakeStore, driver_view, source, stored
from tests.stored_books import at

# Values and sources


def test_every_float_keeps_its_bits(make_store: MakeStore, tmp_path: Path) -> None:
    values = np.array([NAN, np.inf, -np.inf, -0.0, 0.0, 5e-324, np.finfo(float).max, 2.0**53 + 2])
    path = stored(tmp_path / "c.parquet", {"customer_id": [str(i) for i in range(8)], "balance_y": values}, [0] * 8)
    view = FeatureView(
        name="odd",
        entities=[CUSTOMER],
        schema=[Field(name="customer_id", dtype=String), Field(name="balance_y", dtype=Float64)],
        source=source(path),
    )
    asked = pd.DataFrame({"customer_id": [str(i) for i in reversed(range(9))], "event_timestamp": [at(0)] * 9})
    job = make_store(CUSTOMER, view).get_historical_features(asked, ["odd:balance_y"])
    column = job.to_arrow()["balance_y"]
    assert [value.is_valid for value in column] == [False, *[True] * 8]
    read = column.drop_null().to_numpy()[::-1]
    assert read.tobytes() == values.tobytes()
    assert job.to_df()["balance_y"].to_numpy()[1:][::-1].tobytes() == values.tobytes()


@pytest.mark.parametrize("row_group_size", [1, 2, 100])
@pytest.mark.parametrize("layout", ["file", "folder", "hive", "hive by key and day"])
def test_every_layout_of_a_source_gives_the_same_answers(
    make_store: MakeStore, tmp_path: Path, layout: str, row_group_size: int
) -> None:
    table = pa.table(
        {
            "customer_id": ["a", "b", "a", "c", None],
            "day": ["1", "1", "2", "2", "2"],
            "n": pa.array([2**53 + 1, None, 3, 4, 5], pa.int64()),
            "note": ["w", "x", None, "z", "-"],
            "is_new": [True, False, None, True, True],
            "event_timestamp": [at(0), at(0), at(10), at(10), at(10)],
        }
    )
    path = tmp_path / "c"
    if layout == "file":
        path = tmp_path / "c.parquet"
        pq.write_table(table, path, row_group_size=row_group_size)
    elif layout == "folder":
        path.mkdir()
        for i in range(0, 5, 2):
            pq.write_table(table.slice(i, 2), path / f"{i}.parquet", row_group_size=row_group_size)
    else:
        keys = ["customer_id"] if layout == "hive" else ["customer_id", "day"]
        part = ds.partitioning(pa.schema([(key, pa.string()) for key in keys]), flavor="hive")
        ds.write_dataset(table, path, format="parquet", partitioning=part)
    view = FeatureView(
        name="mixed",
        entities=[CUSTOMER],
        schema=[Field(name="customer_id", dtype=String), Field(name="n", dtype=Int64)],
        source=source(path),
    )
    view.schema.append(Field(name="note", dtype=String))
    view.features.append(Field(name="note", dtype=String))
    asked = pd.DataFrame(
        {
            "customer_id": ["c", "a", "nobody", "a", "b", "a", None],
            "event_timestamp": [at(10), at(9), at(10), at(10), at(99), at(-1), at(10)],
        }
    )
    store = make_store(CUSTOMER, view)
    job = store.get_historical_features(asked, ["mixed:n", "mixed:note"])
    table = job.to_arrow()
    assert table["n"].to_pylist() == [4, 2**53 + 1, None, 3, None, None, None]
    assert table["note"].to_pylist() == ["z", "w", None, None, "x", None, None]
    assert isinstance(job, AsOfRetrievalJob)
    assert pa.concat_tables(job.to_arrow_batches(2)).equals(table)


@pytest.mark.parametrize("is_partitioned", [False, True])
def test_large_row_groups_are_read_column_by_column_with_the_same_answers(
    make_store: MakeStore, tmp_path: Path, *, is_partitioned: bool
) -> None:
    count = 600_000  # two columns of them are more than a thread decodes at once
    driver = np.arange(count) % 2
    number = np.arange(count, dtype=np.int64)
    columns: dict[str, Any] = {
        "event_timestamp": pa.array(number * 1_000_000).cast(pa.timestamp("us", "UTC")),
        "trips": pa.array(number, mask=number % 5 == 0),
        "rate": pa.array(number / 7),
        "note": pa.array(np.char.mod("%d", number)),
    }
    path = tmp_path / "large"
    for key in (0, 1) if is_partitioned else (None,):
        folder = path if key is None else path / f"driver_id={key}"
        folder.mkdir(parents=True)
        keyed: dict[str, Any] = {"driver_id": driver} if key is None else {}
        rows = pa.table(columns | keyed)
        pq.write_table(rows if key is None else rows.filter(pa.array(driver == key)), folder / "a.parquet")
    view = FeatureView(
        name="large",
        entities=[DRIVER],
        schema=[
            Field(name="driver_id", dtype=Int64),
            Field(name="trips", dtype=Int64),
            Field(name="rate", dtype=Float64),
            Field(name="note", dtype=String),
        ],
        source=source(path),
    )
    asked = np.random.default_rng(0).permutation(np.arange(0, count, 1000))
    entities = pd.DataFrame({"driver_id": asked % 2, "event_timestamp": pd.to_datetime(asked, unit="s", utc=True)})
    features = ["large:trips", "large:rate", "large:note"]
    table = make_store(DRIVER, view).get_historical_features(entities, features).to_arrow()
    assert table["trips"].to_pylist() == [None if at % 5 == 0 else at for at in asked.tolist()]
    assert table["rate"].to_pylist() == (asked / 7).tolist()
    assert table["note"].to_pylist() == [str(at) for at in asked.tolist()]


def test_a_source_of_no_rows_gives_nulls_of_its_types(make_store: MakeStore, tmp_path: Path) -> None:
    path = tmp_path / "empty.parquet"
    time_type = pa.timestamp("us", "UTC")
    kinds: list[tuple[str, pa.DataType]] = [
        ("driver_id", pa.int64()),
        ("trips", pa.int64()),
        ("rate", pa.float64()),
        ("event_timestamp", time_type),
        ("created", time_type),
    ]
    pq.write_table(pa.schema(kinds).empty_table(), path)
    asked = pd.DataFrame({"driver_id": [1], "event_timestamp": [at(0)]})
    table = make_store(DRIVER, driver_view(path)).get_historical_features(asked, ["driver_stats:trips"]).to_arrow()
    assert (table["trips"].to_pylist(), table["trips"].type) == ([None], pa.int64())


def test_an_unreadable_file_is_named(make_store: MakeStore, drivers: FeatureView, tmp_path: Path) -> None:
    store = make_store(DRIVER, drivers)
    path = tmp_path / "drivers.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    asked = pd.DataFrame({"driver_id": [1], "event_timestamp": [at(0)]})
    with pytest.raises(CorruptStore, match=r"drivers\.parquet: must be readable Parquet"):
        store.get_historical_features(asked, ["driver_stats:trips"]).to_df()


def test_files_that_disagree_on_a_type_are_named(make_store: MakeStore, tmp_path: Path) -> None:
    folder = tmp_path / "d"
    stored(folder / "a.parquet", {"driver_id": [1], "trips": [1], "rate": [1.0]}, [0], [0])
    stored(folder / "b.parquet", {"driver_id": [1], "trips": ["one"], "rate": [1.0]}, [0], [0])
    asked = pd.DataFrame({"driver_id": [1], "event_timestamp": [at(0)]})
    with pytest.raises(CorruptStore, match="trips"):
        make_store(DRIVER, driver_view(folder)).get_historical_features(asked, ["driver_stats:trips"]).to_df()


# Results that stream


@pytest.mark.filterwarnings("ignore:.*dataset.* is an experimental feature:RuntimeWarning")
def test_a_long_result_is_written_without_being_held(
    make_store: MakeStore, drivers: FeatureView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(DRIVER, drivers)
    count = 1000
    asked = pd.DataFrame({"driver_id": np.arange(count) % 3, "event_timestamp": [at(i / 5) for i in range(count)]})
    job = store.get_historical_features(asked, ["driver_stats:trips", "driver_stats:rate"])
    assert isinstance(job, AsOfRetrievalJob)
    whole = job.to_arrow()
    lengths = [len(part) for part in job.to_arrow_batches(300)]
    assert lengths == [300, 300, 300, 100]
    monkeypatch.setattr(AsOfRetrievalJob.to_arrow_batches, "__defaults__", (300,))
    job.persist(SavedDatasetFileStorage(path=str(tmp_path / "long.parquet")))
    assert pq.read_table(tmp_path / "long.parquet").equals(whole)
    assert pq.read_metadata(tmp_path / "long.parquet").num_row_groups == 4


def test_python_holds_one_part_of_a_long_result_at_a_time(make_store: MakeStore, drivers: FeatureView) -> None:
    store = make_store(DRIVER, drivers)
    count = 200_000
    times = pd.Series(pd.to_datetime(np.arange(count), unit="ms", origin="2026-03-01", utc=True))
    asked = pd.DataFrame({"driver_id": np.arange(count) % 3, "event_timestamp": times})
    job = store.get_historical_features(asked, ["driver_stats:trips", "driver_stats:rate"])
    assert isinstance(job, AsOfRetrievalJob)

    def peak(max_rows: int) -> int:
        tracemalloc.start()
        try:
            for _ in job.to_arrow_batches(max_rows):
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(count)  # what is made once
    assert peak(count // 20) < peak(count) / 4
