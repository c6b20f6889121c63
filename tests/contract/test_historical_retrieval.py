"""Historical retrieval on any Feast repository: what every offline store of Feast must answer, and random tables."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from feast import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    OnDemandFeatureView,
    RepoConfig,
    RequestSource,
)
from feast.errors import FeatureNameCollisionError, RequestDataNotFoundInEntityDfException
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.transformation.pandas_transformation import PandasTransformation
from feast.types import Array, Bool, FeastType, Float64, Int64, String
from feast.value_type import ValueType
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.retrieval_job import AsOfRetrievalJob
from market.errors import CorruptStore

T0 = datetime(2026, 3, 1, tzinfo=UTC)
NAN = float("nan")
DRIVER = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
CUSTOMER = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
PLACE = Entity(name="place", join_keys=["place_id"], value_type=ValueType.INT64)

FeastObject = Entity | FeatureView | OnDemandFeatureView
MakeStore = Callable[..., FeatureStore]


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    def make(*objects: FeastObject) -> FeatureStore:
        return repository(tmp_path, *objects)

    return make


def repository(folder: Path, *objects: FeastObject) -> FeatureStore:
    """A Feast repository on our offline store, with the objects applied."""
    store = FeatureStore(
        config=RepoConfig(
            project="cases",
            provider="local",
            registry=str(folder / "registry.db"),
            online_store={"type": "sqlite", "path": str(folder / "online.db")},
            offline_store={"type": "feature_repo.offline_store.AsOfOfflineStore", "bitemporal": True},
            entity_key_serialization_version=3,
            repo_path=folder,
        )
    )
    store.apply(list(objects))
    return store


def stored(path: Path, columns: dict[str, Any], events: list[float], created: list[float] | None = None) -> Path:
    """A Parquet file of rows with their event times and, when given, creation times."""
    table = pa.table(
        columns
        | {"event_timestamp": [at(event) for event in events]}
        | ({} if created is None else {"created": [at(moment) for moment in created]})
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def source(path: Path, *, created: bool = False) -> FileSource:
    return FileSource(
        path=str(path),
        timestamp_field="event_timestamp",
        created_timestamp_column="created" if created else "",
    )


def driver_view(path: Path, *, name: str = "driver_stats") -> FeatureView:
    return FeatureView(
        name=name,
        entities=[DRIVER],
        schema=[
            Field(name="driver_id", dtype=Int64),
            Field(name="trips", dtype=Int64),
            Field(name="rate", dtype=Float64),
        ],
        source=source(path, created=True),
    )


@pytest.fixture
def drivers(tmp_path: Path) -> FeatureView:
    path = stored(
        tmp_path / "drivers.parquet",
        {"driver_id": [1, 2, 1], "trips": [10, 20, 11], "rate": [0.1, 0.2, 0.11]},
        [0, 0, 100],
        [0, 0, 100],
    )
    return driver_view(path)


@pytest.fixture
def customers(tmp_path: Path) -> FeatureView:
    path = stored(tmp_path / "customers.parquet", {"customer_id": ["a", "b"], "balance": [5.0, 6.0]}, [50, 50])
    return FeatureView(
        name="customer_profile",
        entities=[CUSTOMER],
        schema=[Field(name="customer_id", dtype=String), Field(name="balance", dtype=Float64)],
        source=source(path),
    )


# Every offline store of Feast


@pytest.mark.parametrize("full_names", [False, True])
def test_views_of_different_entities_join_to_one_frame_with_its_labels(
    make_store: MakeStore, drivers: FeatureView, customers: FeatureView, *, full_names: bool
) -> None:
    store = make_store(DRIVER, CUSTOMER, drivers, customers)
    asked = pd.DataFrame(
        {
            "order_id": [3, 1, 2],
            "label": ["x", "y", "z"],
            "customer_id": ["b", "a", "c"],
            "driver_id": [1, 2, 9],
            "when": [at(100), at(49), at(100)],
        },
        index=[5, 5, 0],
    )
    job = store.get_historical_features(
        asked, ["driver_stats:trips", "customer_profile:balance"], full_feature_names=full_names
    )
    frame = job.to_df()
    trips, balance = ("driver_stats__trips", "customer_profile__balance") if full_names else ("trips", "balance")
    assert frame.columns.tolist() == [*asked.columns, trips, balance]
    assert frame.index.tolist() == [5, 5, 0]
    assert frame[["order_id", "label"]].values.tolist() == [[3, "x"], [1, "y"], [2, "z"]]
    assert frame[trips].tolist() == [11, 20, pd.NA]
    np.testing.assert_array_equal(frame[balance], [6.0, NAN, NAN])
    assert job.full_feature_names == full_names
    assert job.metadata is not None
    assert (job.metadata.min_event_timestamp, job.metadata.max_event_timestamp) == (at(49), at(100))
    assert set(job.metadata.keys) == {"order_id", "label", "customer_id", "driver_id"}


def test_two_views_on_one_source_each_give_their_own_columns(make_store: MakeStore, drivers: FeatureView) -> None:
    shared = drivers.batch_source
    assert isinstance(shared, FileSource)
    trips = FeatureView(name="trips_only", entities=[DRIVER], source=shared, schema=[Field(name="trips", dtype=Int64)])
    rates = FeatureView(name="rates_only", entities=[DRIVER], source=shared, schema=[Field(name="rate", dtype=Float64)])
    store = make_store(DRIVER, trips, rates)
    asked = pd.DataFrame({"driver_id": [1], "event_timestamp": [at(99)]})
    frame = store.get_historical_features(asked, ["trips_only:trips", "rates_only:rate"]).to_df()
    assert (frame["trips"].tolist(), frame["rate"].tolist()) == ([10], [0.1])


def test_features_of_one_name_from_two_views_need_full_names(make_store: MakeStore, drivers: FeatureView) -> None:
    assert isinstance(drivers.batch_source, FileSource)
    other = driver_view(Path(drivers.batch_source.path), name="other_stats")
    store = make_store(DRIVER, drivers, other)
    asked = pd.DataFrame({"driver_id": [1], "event_timestamp": [at(0)]})
    references = ["driver_stats:trips", "other_stats:trips"]
    with pytest.raises(FeatureNameCollisionError):
        store.get_historical_features(asked, references)
    frame = store.get_historical_features(asked, references, full_feature_names=True).to_df()
    assert frame.columns.tolist() == ["driver_id", "event_timestamp", "driver_stats__trips", "other_stats__trips"]


def test_a_backfilled_row_is_known_from_its_creation(make_store: MakeStore, tmp_path: Path) -> None:
    path = stored(tmp_path / "d.parquet", {"driver_id": [1, 1], "trips": [1, 2], "rate": [1.0, 2.0]}, [0, 0], [0, 50])
    store = make_store(DRIVER, driver_view(path))
    asked = pd.DataFrame({"driver_id": [1, 1], "event_timestamp": [at(49), at(50)]})
    assert store.get_historical_features(asked, ["driver_stats:trips"]).to_df()["trips"].tolist() == [1, 2]


def test_columns_that_the_source_spells_otherwise_are_mapped(make_store: MakeStore, tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    pq.write_table(pa.table({"id": [1], "ts": [at(0)], "made": [at(0)], "t": [7]}), path)
    view = FeatureView(
        name="mapped",
        entities=[DRIVER],
        schema=[Field(name="driver_id", dtype=Int64), Field(name="trips", dtype=Int64)],
        source=FileSource(
            path=str(path),
            timestamp_field="event_timestamp",
            created_timestamp_column="created",
            field_mapping={"id": "driver_id", "ts": "event_timestamp", "made": "created", "t": "trips"},
        ),
    )
    store = make_store(DRIVER, view)
    asked = pd.DataFrame({"driver_id": [1], "event_timestamp": [at(0)]})
    assert store.get_historical_features(asked, ["mapped:trips"]).to_df()["trips"].tolist() == [7]


def test_one_entity_under_two_names_is_joined_twice(make_store: MakeStore, tmp_path: Path) -> None:
    path = stored(tmp_path / "p.parquet", {"place_id": [1, 2], "heat": [10.0, 20.0]}, [0, 0])
    places = FeatureView(
        name="place_heat",
        entities=[PLACE],
        schema=[Field(name="place_id", dtype=Int64), Field(name="heat", dtype=Float64)],
        source=source(path),
    )
    store = make_store(PLACE, places)
    service = FeatureService(
        name="route",
        features=[
            places.with_name("origin").with_join_key_map({"place_id": "origin_id"}),
            places.with_name("target").with_join_key_map({"place_id": "target_id"}),
        ],
    )
    store.apply([service])
    asked = pd.DataFrame({"origin_id": [1, 2], "target_id": [2, 3], "event_timestamp": [at(1)] * 2})
    frame = store.get_historical_features(asked, service, full_feature_names=True).to_df()
    np.testing.assert_array_equal(frame["origin__heat"], [10.0, 20.0])
    np.testing.assert_array_equal(frame["target__heat"], [20.0, NAN])


@pytest.fixture
def scaled(drivers: FeatureView) -> OnDemandFeatureView:
    def scale(frame: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"scaled": frame["rate"] * frame["factor"], "unasked": frame["rate"]})

    return OnDemandFeatureView(
        name="scaled_stats",
        sources=[drivers, RequestSource(name="request", schema=[Field(name="factor", dtype=Float64)])],
        schema=[Field(name="scaled", dtype=Float64), Field(name="unasked", dtype=Float64)],
        feature_transformation=PandasTransformation(udf=scale, udf_string="scale"),
        mode="pandas",
    )


@pytest.mark.filterwarnings("ignore:On demand feature view is an experimental feature:RuntimeWarning")
def test_on_demand_features_need_their_request_data_and_give_what_is_asked(
    make_store: MakeStore, drivers: FeatureView, scaled: OnDemandFeatureView
) -> None:
    store = make_store(DRIVER, drivers, scaled)
    asked = pd.DataFrame({"driver_id": [1, 2], "event_timestamp": [at(0)] * 2})
    with pytest.raises(RequestDataNotFoundInEntityDfException):
        store.get_historical_features(asked, ["scaled_stats:scaled"])
    job = store.get_historical_features(asked.assign(factor=[2.0, 4.0]), ["driver_stats:rate", "scaled_stats:scaled"])
    assert job.to_df()["scaled"].tolist() == [0.2, 0.8]
    assert "unasked" not in job.to_df()
    assert isinstance(job, AsOfRetrievalJob)
    assert [part["scaled"].to_pylist() for part in job.to_batches(1)] == [[0.2], [0.8]]


def test_a_period_of_several_views_is_the_union_of_their_rows(
    make_store: MakeStore, drivers: FeatureView, customers: FeatureView
) -> None:
    store = make_store(DRIVER, CUSTOMER, drivers, customers)
    job = store.get_historical_features(
        features=["driver_stats:trips", "customer_profile:balance"], start_date=at(0), end_date=at(60)
    )
    frame = job.to_df()
    assert frame["event_timestamp"].tolist() == [at(0), at(0), at(50), at(50)]
    assert frame["driver_id"].tolist() == [1, 2, pd.NA, pd.NA]
    assert frame["trips"].tolist() == [10, 20, pd.NA, pd.NA]
    np.testing.assert_array_equal(frame["balance"], [NAN, NAN, 5.0, 6.0])


# Entity frames


def test_entities_with_only_future_rows_are_kept_and_null(make_store: MakeStore, drivers: FeatureView) -> None:
    asked = pd.DataFrame({"driver_id": [1, 2], "event_timestamp": [at(-1), at(-0.000001)]})
    table = make_store(DRIVER, drivers).get_historical_features(asked, ["driver_stats:rate"]).to_arrow()
    assert table["rate"].to_pylist() == [None, None]


@pytest.mark.parametrize(
    "keys",
    [
        pd.Series([2, 1], dtype="int32"),
        pd.Series([2, 1], dtype="category"),
        pd.Series([2, 1], dtype="Int64"),
        pd.Series([2, 1], dtype="uint8"),
        pd.Series([2.0, 1.0]),
        pd.Series([2, 1], dtype=object),
    ],
    ids=str,
)
def test_whole_numbers_of_any_spelling_are_the_same_keys(
    make_store: MakeStore, drivers: FeatureView, keys: pd.Series[Any]
) -> None:
    asked = pd.DataFrame({"driver_id": keys, "event_timestamp": [at(1)] * 2})
    frame = make_store(DRIVER, drivers).get_historical_features(asked, ["driver_stats:trips"]).to_df()
    assert frame["trips"].tolist() == [20, 10]
    assert frame["driver_id"].dtype == keys.dtype


@pytest.mark.parametrize("dtype", ["category", "string", "object"])
def test_texts_of_any_spelling_are_the_same_keys(make_store: MakeStore, customers: FeatureView, dtype: str) -> None:
    asked = pd.DataFrame({"customer_id": pd.Series(["b", "z", "a"], dtype=dtype), "event_timestamp": [at(99)] * 3})
    frame = make_store(CUSTOMER, customers).get_historical_features(asked, ["customer_profile:balance"]).to_df()
    np.testing.assert_array_equal(frame["balance"], [6.0, NAN, 5.0])


def test_a_row_needs_all_its_keys(make_store: MakeStore, tmp_path: Path) -> None:
    path = stored(
        tmp_path / "t.parquet",
        {"driver_id": [1, 1, 2, 3], "customer_id": ["a", "b", "a", None], "tips": [11.0, 12.0, 21.0, 0.0]},
        [0, 0, 0, 0],
    )
    view = FeatureView(
        name="tips",
        entities=[DRIVER, CUSTOMER],
        schema=[
            Field(name="driver_id", dtype=Int64),
            Field(name="customer_id", dtype=String),
            Field(name="tips", dtype=Float64),
        ],
        source=source(path),
    )
    asked = pd.DataFrame(
        {
            "driver_id": [2, 2, 1, 3, 1, None],
            "customer_id": ["a", "b", "b", None, "a", "a"],
            "event_timestamp": [at(1)] * 6,
        }
    )
    frame = make_store(DRIVER, CUSTOMER, view).get_historical_features(asked, ["tips:tips"]).to_df()
    np.testing.assert_array_equal(frame["tips"], [21.0, NAN, 12.0, NAN, 11.0, NAN])


def test_both_hours_of_the_night_when_summer_time_ends_find_their_own_row(
    make_store: MakeStore, tmp_path: Path
) -> None:
    night = [datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=fold) for fold in (0, 1)]
    path = tmp_path / "d.parquet"
    table = pa.table(
        {
            "driver_id": [1, 1],
            "trips": [1, 2],
            "rate": [1.0, 2.0],
            "event_timestamp": pa.array(night, pa.timestamp("us", "Europe/Berlin")),
            "created": pa.array(night, pa.timestamp("us", "UTC")),
        }
    )
    pq.write_table(table, path)
    store = make_store(DRIVER, driver_view(path))
    asked = pd.DataFrame({"driver_id": [1, 1], "event_timestamp": night})
    assert store.get_historical_features(asked, ["driver_stats:trips"]).to_df()["trips"].tolist() == [1, 2]


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
    assert pa.concat_tables(job.to_batches(2)).equals(table)


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
    lengths = [len(part) for part in job.to_batches(300)]
    assert lengths == [300, 300, 300, 100]
    monkeypatch.setattr(AsOfRetrievalJob.to_batches, "__defaults__", (300,))
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
            for _ in job.to_batches(max_rows):
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(count)  # what is made once
    assert peak(count // 20) < peak(count) / 4


# Refusals


def test_a_feature_that_the_view_has_not_is_refused_by_name(make_store: MakeStore, drivers: FeatureView) -> None:
    asked = pd.DataFrame({"driver_id": [1], "event_timestamp": [at(0)]})
    with pytest.raises(KeyError, match="Feature speed not found in projection driver_stats"):
        make_store(DRIVER, drivers).get_historical_features(asked, ["driver_stats:speed"])


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


# Random tables against a reader that tries every row for every question

TTL = timedelta(seconds=5)
US = timedelta(microseconds=1)
# Mostly one key and two times that lie a TTL apart, so that ages of exactly the TTL are the rule.
EDGES = st.sampled_from([timedelta(0), timedelta(0), timedelta(0), US, -US])
MOMENTS = st.builds(lambda base, off: base + off, st.sampled_from([T0, T0, T0 + TTL]), EDGES)
LATER = st.builds(lambda base, off: base + off, st.sampled_from([T0 + TTL, T0 + TTL, T0 + 2 * TTL, T0]), EDGES)
KEYS = st.sampled_from(["a", "a", "a", "a", "b", "c", None])
VALUES = st.sampled_from([None, NAN, np.inf, -0.0, 5e-324, 1.5])
NUMBERS = st.sampled_from([None, 0, 2**53 + 1, -(2**63)])
OTHERS = st.sampled_from([(None, None, None), ("", False, []), ("é y", True, [1, None]), ("x" * 40, None, [2**62])])
ROWS = st.lists(st.tuples(KEYS, MOMENTS, st.one_of(st.none(), MOMENTS), VALUES, NUMBERS, OTHERS), max_size=10)
QUESTIONS = st.lists(st.tuples(st.sampled_from(["a", "a", "a", "b", "c", "unknown", None]), LATER), max_size=8)
Row = tuple[str | None, datetime, datetime | None, float | None, int | None, tuple[Any, ...]]
FEATURES: dict[str, FeastType] = {
    "value": Float64,
    "number": Int64,
    "note": String,
    "is_new": Bool,
    "tags": Array(Int64),
}
TIMES_TO_LIVE = {"lasting": None, "brief": TTL, "keyed": TTL}
"""Of each view: two on one folder of files, one on a folder partitioned by the key."""


def answer_slowly(key: str | None, moment: datetime, rows: list[Row], ttl: timedelta | None) -> tuple[Any, ...]:
    """The features of the newest row that may be known; all None where there is none."""
    best: tuple[datetime, datetime, int] | None = None
    for at_row, (held, event, created, *_) in enumerate(rows):
        known = event if created is None else created
        is_alive = ttl is None or moment - event <= ttl
        if key is not None and held == key and event <= moment and known <= moment and is_alive:
            best = max(best or (event, known, at_row), (event, known, at_row))
    if best is None:
        return (None,) * len(FEATURES)
    *_, value, number, others = rows[best[2]]
    return (value, number, *others)


@pytest.fixture(scope="module")
def random_tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[FeatureStore, Path]:
    folder = tmp_path_factory.mktemp("random")
    views = [
        FeatureView(
            name=name,
            entities=[CUSTOMER],
            ttl=ttl,
            schema=[
                Field(name="customer_id", dtype=String),
                *(Field(name=feature, dtype=kind) for feature, kind in FEATURES.items()),
            ],
            source=source(folder / ("keyed" if name == "keyed" else "rows"), created=True),
        )
        for name, ttl in TIMES_TO_LIVE.items()
    ]
    (folder / "rows").mkdir()
    (folder / "keyed").mkdir()
    return repository(folder, CUSTOMER, *views), folder


def write_twice(folder: Path, rows: list[Row], split: int) -> None:
    """The rows as two files of a folder, and as two files of each partition, the first ``split`` in the first."""
    time_type = pa.timestamp("ns", "UTC")
    flat = [(*row[:5], *row[5]) for row in rows]
    columns = list(zip(*flat, strict=True)) or [()] * 8
    kinds = [
        pa.string(),
        time_type,
        time_type,
        pa.float64(),
        pa.int64(),
        pa.string(),
        pa.bool_(),
        pa.list_(pa.int64()),
    ]
    names = ["customer_id", "event_timestamp", "created", *FEATURES]
    table = pa.table([pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)], names=names)
    pq.write_table(table.slice(0, split), folder / "rows" / "a.parquet", row_group_size=3)
    pq.write_table(table.slice(split), folder / "rows" / "b.parquet", row_group_size=1)
    for key in ("a", "b", "c", None):
        part = folder / "keyed" / f"customer_id={key or '__HIVE_DEFAULT_PARTITION__'}"
        part.mkdir(exist_ok=True)
        for file, first, last in (("a", 0, split), ("b", split, len(rows))):
            held = [at for at in range(first, min(last, len(rows))) if rows[at][0] == key]
            own = table.take(pa.array(held, pa.int64())).drop_columns("customer_id")
            pq.write_table(own, part / f"{file}.parquet", row_group_size=2)


def check_against_the_slow_reader(
    random_tables: tuple[FeatureStore, Path], rows: list[Row], questions: list[tuple[str | None, datetime]], split: int
) -> None:
    store, folder = random_tables
    write_twice(folder, rows, split)
    asked = pd.DataFrame(
        {
            "customer_id": pd.Series([key for key, _ in questions], dtype=object),
            "event_timestamp": pd.to_datetime([moment for _, moment in questions], utc=True),
        }
    )
    references = [f"{view}:{feature}" for view in TIMES_TO_LIVE for feature in FEATURES]
    job = store.get_historical_features(asked, references, full_feature_names=True)
    assert isinstance(job, AsOfRetrievalJob)
    for found in (job.to_arrow(), pa.concat_tables(job.to_batches(3))):
        for view, ttl in TIMES_TO_LIVE.items():
            answers = [answer_slowly(key, moment, rows, ttl) for key, moment in questions]
            for at_feature, feature in enumerate(FEATURES):
                given, wanted = found[f"{view}__{feature}"].combine_chunks(), [answer[at_feature] for answer in answers]
                assert given.is_valid().to_pylist() == [value is not None for value in wanted]
                if feature == "value":
                    bits = np.array([value for value in wanted if value is not None], np.float64).tobytes()
                    assert given.drop_null().to_numpy().tobytes() == bits
                else:
                    assert given.to_pylist() == wanted


@pytest.mark.filterwarnings("ignore:.*every row was created after the requested time")
@given(rows=ROWS, questions=QUESTIONS, split=st.integers(0, 10))
@settings(max_examples=100)
def test_the_store_answers_what_trying_every_row_answers(
    random_tables: tuple[FeatureStore, Path], rows: list[Row], questions: list[tuple[str | None, datetime]], split: int
) -> None:
    check_against_the_slow_reader(random_tables, rows, questions, split)


@pytest.mark.filterwarnings("ignore:.*every row was created after the requested time")
@pytest.mark.soak
@given(rows=ROWS, questions=QUESTIONS, split=st.integers(0, 10))
@settings(max_examples=5000)
def test_thousands_of_random_tables_are_answered_as_trying_every_row_answers(
    random_tables: tuple[FeatureStore, Path], rows: list[Row], questions: list[tuple[str | None, datetime]], split: int
) -> None:
    check_against_the_slow_reader(random_tables, rows, questions, split)
