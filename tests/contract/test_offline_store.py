"""The offline store through a real Feast FeatureStore, beside Feast's own dask store where that one errs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, TypeAlias, cast
from urllib.parse import quote

import numpy as np
import pandas as pd
import pyarrow as pa
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
    StreamFeatureView,
)
from feast.data_source import PushMode, PushSource
from feast.dqm.errors import ValidationFailed
from feast.dqm.profilers.profiler import Profile, Profiler, ValidationReport
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.feature_logging import LoggingConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination, SavedDatasetFileStorage
from feast.saved_dataset import ValidationReference
from feast.transformation.pandas_transformation import PandasTransformation
from feast.types import Array, Bool, Float64, Int64, PrimitiveFeastType, String, UnixTimestamp
from feast.value_type import ValueType

from feature_repo.offline_store import AsOfOfflineStoreConfig
from market.errors import CorruptStore, InvalidRequest, NotFound

OURS = "feature_repo.offline_store.AsOfOfflineStore"
DASK = "dask"
T0 = datetime(2026, 3, 1, tzinfo=UTC)
SYMBOL = Entity(name="symbol", join_keys=["symbol"], value_type=ValueType.STRING)
VENUE = Entity(name="venue", join_keys=["venue"], value_type=ValueType.INT64)

Values: TypeAlias = "pa.Array[Any] | list[float] | list[int]"
MakeStore = Callable[..., FeatureStore]


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    """A Feast repository in a folder of its own, with the objects applied."""

    def make(objects: list[Any], offline_store: str = OURS, **options: bool) -> FeatureStore:
        store = FeatureStore(
            config=RepoConfig(
                project="market",
                provider="local",
                registry=str(tmp_path / "registry.db"),
                online_store={"type": "sqlite", "path": str(tmp_path / "online.db")},
                offline_store={"type": offline_store, **options},
                entity_key_serialization_version=3,
                repo_path=tmp_path,
            )
        )
        store.apply(objects)
        return store

    return make


def rows_of(
    symbols: list[str | None],
    events: list[float],
    created: list[float | None],
    **features: pa.Array[Any] | list[float] | list[int],
) -> pa.Table:
    return pa.table(
        {
            "symbol": pa.array(symbols, pa.string()),
            "event_timestamp": pa.array([at(event) for event in events], pa.timestamp("us", "UTC")),
            "created": pa.array([None if c is None else at(c) for c in created], pa.timestamp("us", "UTC")),
            **features,
        }
    )


def view_of(path: Path, fields: list[Field], *, ttl: timedelta | None = None) -> FeatureView:
    return FeatureView(
        name="book",
        entities=[SYMBOL],
        ttl=ttl,
        schema=[Field(name="symbol", dtype=String), *fields],
        source=FileSource(path=str(path), timestamp_field="event_timestamp", created_timestamp_column="created"),
    )


def entity_rows(symbols: list[str | None], seconds: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"symbol": symbols, "event_timestamp": [at(second) for second in seconds]})


def write(table: pa.Table, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


# --- what Feast's own store gets wrong ---------------------------------------------------------------------------


@pytest.fixture
def book(tmp_path: Path) -> FeatureView:
    """One symbol, three rows; the last is restated late."""
    table = rows_of(["BTC"] * 4, [0, 10, 20, 20], [0, 10, 20, 60], mid=[1.0, 2.0, 3.0, 99.0])
    return view_of(write(table, tmp_path / "book.parquet"), [Field(name="mid", dtype=Float64)], ttl=timedelta(hours=1))


def test_dask_collapses_duplicate_entity_rows_and_loses_index_and_order_where_ours_keeps_them(
    make_store: MakeStore, book: FeatureView
) -> None:
    asked = pd.DataFrame(
        {
            "symbol": ["BTC", "ETH", "BTC", "BTC", "BTC"],
            "event_timestamp": [at(15), at(15), at(5), at(15), at(-5)],
            "note": ["a", "b", "c", "d", "e"],
        },
        index=[7, 7, 3, 9, 1],
    )
    theirs = make_store([SYMBOL, book], DASK).get_historical_features(asked, ["book:mid"]).to_df()
    ours = make_store([SYMBOL, book]).get_historical_features(asked, ["book:mid"]).to_df()

    # The duplicate question is answered once, the one that matches only later rows not at all.
    assert sorted(theirs["note"]) != sorted(asked["note"])
    assert len(theirs) < len(asked)
    assert list(theirs.index) != list(asked.index)

    pd.testing.assert_frame_equal(ours[["symbol", "note"]], asked[["symbol", "note"]])
    assert ours["event_timestamp"].tolist() == asked["event_timestamp"].tolist()
    np.testing.assert_array_equal(ours["mid"], [2.0, np.nan, 1.0, 2.0, np.nan])


def test_what_created_means_is_asked_for_or_declared_and_else_the_answer_is_feasts(
    make_store: MakeStore, book: FeatureView
) -> None:
    asked = entity_rows(["BTC"], [30])  # the restatement of second 20 was written at second 60
    theirs = make_store([SYMBOL, book], DASK)
    assert theirs.get_historical_features(asked, ["book:mid"]).to_df()["mid"].tolist() == [99.0]

    # A repository that says nothing gets Feast's answer; the repository or the view may say more.
    assert make_store([SYMBOL, book]).get_historical_features(asked, ["book:mid"]).to_df()["mid"].tolist() == [99.0]
    for options, tags in (({"bitemporal": True}, {}), ({}, {"created_timestamp_is": "availability"})):
        book.tags = tags
        ours = make_store([SYMBOL, book], **options)
        assert ours.get_historical_features(asked, ["book:mid"]).to_df()["mid"].tolist() == [3.0]
        assert ours.get_historical_features(entity_rows(["BTC"], [60]), ["book:mid"]).to_df()["mid"].tolist() == [99.0]


def test_an_answer_that_creation_times_hide_entirely_warns(make_store: MakeStore, tmp_path: Path) -> None:
    table = rows_of(["BTC", "BTC"], [0, 10], [90, 90], mid=[1.0, 2.0])  # generated long after, as templates do it
    view = view_of(write(table, tmp_path / "book.parquet"), [Field(name="mid", dtype=Float64)])
    store = make_store([SYMBOL, view], bitemporal=True)
    with pytest.warns(UserWarning, match=r"book: every row was created after the requested time \(created\)"):
        hidden = store.get_historical_features(entity_rows(["BTC", "ETH"], [30, 30]), ["book:mid"]).to_df()
    assert hidden["mid"].isna().all()
    # Nothing is hidden where there is nothing, or where one row is seen: warnings are errors here.
    assert store.get_historical_features(entity_rows(["ETH"], [30]), ["book:mid"]).to_df()["mid"].isna().all()
    seen = store.get_historical_features(entity_rows(["BTC", "BTC"], [30, 95]), ["book:mid"]).to_df()
    assert seen["mid"].tolist()[1] == 2.0


def test_without_bitemporal_the_rule_is_asked_for_as_feast_spells_it(make_store: MakeStore, book: FeatureView) -> None:
    store = make_store([SYMBOL, book], bitemporal=False)
    asked = entity_rows(["BTC"], [30])
    assert store.get_historical_features(asked, ["book:mid"]).to_df()["mid"].tolist() == [99.0]
    filtered = store.get_historical_features(asked, ["book:mid"], filter_by_created_timestamp=True)
    assert filtered.to_df()["mid"].tolist() == [3.0]


# --- rows and values ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("age", "expected"), [(60.0, 1.0), (60.000001, None), (59.999999, 1.0)])
def test_a_row_of_age_exactly_ttl_is_returned(
    make_store: MakeStore, tmp_path: Path, age: float, expected: float | None
) -> None:
    path = write(rows_of(["BTC"], [0], [0], mid=[1.0]), tmp_path / "book.parquet")
    view = view_of(path, [Field(name="mid", dtype=Float64)], ttl=timedelta(seconds=60))
    store = make_store([SYMBOL, view])
    assert store.get_historical_features(entity_rows(["BTC"], [age]), ["book:mid"]).to_arrow()["mid"].to_pylist() == [
        expected
    ]


@pytest.mark.parametrize("ttl", [None, timedelta(0)])
def test_no_ttl_is_no_limit(make_store: MakeStore, tmp_path: Path, ttl: timedelta | None) -> None:
    path = write(rows_of(["BTC"], [0], [None], mid=[1.0]), tmp_path / "book.parquet")
    store = make_store([SYMBOL, view_of(path, [Field(name="mid", dtype=Float64)], ttl=ttl)])
    asked = entity_rows(["BTC", "BTC"], [0, 1e9])  # a null creation time counts as the event time
    assert store.get_historical_features(asked, ["book:mid"]).to_df()["mid"].tolist() == [1.0, 1.0]


def test_values_of_every_type_come_back_exactly_and_null_is_not_nan(make_store: MakeStore, tmp_path: Path) -> None:
    odd_nan = np.array([0x7FF8_0000_0000_0123], np.uint64).view(np.float64)
    features: dict[str, pa.Array[Any]] = {
        "count": pa.array([2**53 + 1, None], pa.int64()),
        "mid": pa.array([odd_nan[0], None], pa.float64()),
        "side_y": pa.array(["buy", None]),
        "is_open": pa.array([True, None]),
        "levels": pa.array([[1.5, 2.5], None], pa.list_(pa.float64())),
        "seen": pa.array([1_234_567_890_123_456_789, None], pa.int64()).cast(pa.timestamp("ns", "UTC")),
    }
    path = write(rows_of(["BTC", "ETH"], [0, 0], [0, 0], **features), tmp_path / "book.parquet")
    kinds: list[PrimitiveFeastType | Array] = [Int64, Float64, String, Bool, Array(Float64), UnixTimestamp]
    fields = [Field(name=name, dtype=kind) for name, kind in zip(features, kinds, strict=True)]
    store = make_store([SYMBOL, view_of(path, fields)])
    asked = entity_rows(["ETH", "BTC", "XRP"], [1, 1, 1])
    job = store.get_historical_features(asked, [f"book:{name}" for name in features])

    table = job.to_arrow()
    for name, stored in features.items():
        assert table[name].type == stored.type
        assert [value.is_valid for value in table[name]] == [False, True, False]
    assert np.array([table["mid"][1].as_py()]).view(np.uint64) == odd_nan.view(np.uint64)
    assert table["count"][1].as_py() == 2**53 + 1
    assert table["seen"][1].value == 1_234_567_890_123_456_789

    frame = job.to_df()
    assert frame["count"].dtype == pd.Int64Dtype()
    assert frame["count"].tolist() == [pd.NA, 2**53 + 1, pd.NA]
    assert frame["is_open"].tolist() == [pd.NA, True, pd.NA]
    assert frame["side_y"].tolist() == [None, "buy", None]
    assert frame["levels"][1].tolist() == [1.5, 2.5]
    assert frame["seen"][1] == pd.Timestamp(1_234_567_890_123_456_789, tz="UTC")

    known = store.get_historical_features(entity_rows(["BTC"], [1]), ["book:count", "book:is_open"]).to_df()
    assert known["count"].dtype == np.int64
    assert known["is_open"].dtype == np.bool_


def test_a_nan_of_the_entity_frame_stays_a_nan_and_the_result_may_be_written_to(
    make_store: MakeStore, book: FeatureView
) -> None:
    asked = entity_rows(["BTC"], [15]).assign(weight=[np.nan])
    job = make_store([SYMBOL, book]).get_historical_features(asked, ["book:mid"])
    assert np.isnan(job.to_arrow()["weight"][0].as_py())
    frame = job.to_df()
    frame.loc[0, "mid"] = 5.0
    frame.loc[0, "weight"] = 5.0
    assert np.isnan(asked["weight"][0])


@pytest.mark.parametrize(
    "moments",
    [
        pd.Series(pd.to_datetime(["2026-03-01 00:00:15"])),
        pd.Series(pd.to_datetime(["2026-02-28 19:00:15"])).dt.tz_localize("America/New_York"),
        pd.Series(["2026-03-01T00:00:15Z"]),
    ],
    ids=["naive is UTC", "another zone", "text"],
)
def test_a_moment_is_the_same_in_every_spelling(
    make_store: MakeStore, book: FeatureView, moments: pd.Series[Any]
) -> None:
    asked = pd.DataFrame({"symbol": ["BTC"], "event_timestamp": moments})
    for options in ({}, {"bitemporal": False}):
        frame = make_store([SYMBOL, book], **options).get_historical_features(asked, ["book:mid"]).to_df()
        assert frame["mid"].tolist() == [2.0]
        assert frame["event_timestamp"].tolist() == [at(15)]


def test_ties_go_to_the_last_created_then_to_the_last_written(make_store: MakeStore, tmp_path: Path) -> None:
    folder = tmp_path / "book"
    write(rows_of(["BTC"] * 3, [0, 0, 5], [2, 1, 6], mid=[12.0, 11.0, 56.0]), folder / "part-0.parquet")
    write(rows_of(["BTC"] * 2, [5, 5], [6, 5], mid=[57.0, 55.0]), folder / "part-1.parquet")
    store = make_store([SYMBOL, view_of(folder, [Field(name="mid", dtype=Float64)])], bitemporal=True)
    asked = entity_rows(["BTC"] * 4, [0, 1, 2, 10])
    np.testing.assert_array_equal(
        store.get_historical_features(asked, ["book:mid"]).to_df()["mid"], [np.nan, 11.0, 12.0, 57.0]
    )


# --- what a repository may hold ----------------------------------------------------------------------------------


def test_a_hive_folder_is_read_by_its_partitions_only(make_store: MakeStore, tmp_path: Path) -> None:
    folder = tmp_path / "book"
    for symbol, mid in (("BTC/USDT", 1.0), ("1000", 2.0)):
        table = rows_of([symbol], [0], [0], mid=[mid]).drop_columns(["symbol"])
        write(table, folder / f"symbol={quote(symbol, safe='')}" / "date=2026-03-01" / "part-0.parquet")
    broken = folder / "symbol=ETH" / "date=2026-03-01" / "part-0.parquet"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"this file is never opened")
    store = make_store([SYMBOL, view_of(folder, [Field(name="mid", dtype=Float64)])])
    asked = entity_rows(["1000", "BTC/USDT"], [1, 1])
    assert store.get_historical_features(asked, ["book:mid"]).to_df()["mid"].tolist() == [2.0, 1.0]

    with pytest.raises(CorruptStore, match="symbol=ETH"):
        store.get_historical_features(entity_rows(["ETH"], [1]), ["book:mid"]).to_df()


def test_a_partition_of_digits_has_the_type_that_the_view_declares(make_store: MakeStore, tmp_path: Path) -> None:
    folder = tmp_path / "book"
    write(rows_of(["-"], [0], [0], mid=[2.0]).drop_columns(["symbol"]), folder / "symbol=1000" / "part-0.parquet")
    store = make_store([SYMBOL, view_of(folder, [Field(name="mid", dtype=Float64)])])
    assert store.get_historical_features(entity_rows(["1000"], [1]), ["book:mid"]).to_df()["mid"].tolist() == [2.0]


def test_row_groups_outside_the_times_asked_for_are_not_read(make_store: MakeStore, tmp_path: Path) -> None:
    path = tmp_path / "book.parquet"
    seconds = [0.0, 100.0, 200.0]
    pq.write_table(rows_of(["BTC"] * 3, seconds, [*seconds], mid=[1.0, 2.0, 3.0]), path, row_group_size=1)
    metadata = pq.read_metadata(path)
    written = bytearray(path.read_bytes())
    for index in (0, 2):
        for column in range(metadata.num_columns):
            chunk = metadata.row_group(index).column(column)
            start = chunk.dictionary_page_offset or chunk.data_page_offset
            written[start : start + chunk.total_compressed_size] = b"?" * chunk.total_compressed_size
    path.write_bytes(written)
    store = make_store([SYMBOL, view_of(path, [Field(name="mid", dtype=Float64)], ttl=timedelta(seconds=60))])
    assert store.get_historical_features(entity_rows(["BTC"], [150]), ["book:mid"]).to_df()["mid"].tolist() == [2.0]
    with pytest.raises(CorruptStore, match=r"book\.parquet"):
        store.get_historical_features(entity_rows(["BTC"], [50]), ["book:mid"]).to_df()


def test_hidden_files_of_a_folder_are_not_read(make_store: MakeStore, tmp_path: Path) -> None:
    folder = tmp_path / "book"
    write(rows_of(["BTC"], [0], [0], mid=[1.0]), folder / "part-0.parquet")
    (folder / ".part-1.parquet.unfinished").write_bytes(b"PAR1")
    (folder / "_SUCCESS").touch()
    store = make_store([SYMBOL, view_of(folder, [Field(name="mid", dtype=Float64)])])
    assert store.get_historical_features(entity_rows(["BTC"], [1]), ["book:mid"]).to_df()["mid"].tolist() == [1.0]


def test_a_column_that_newer_files_have_is_null_in_older_ones(make_store: MakeStore, tmp_path: Path) -> None:
    folder = tmp_path / "book"
    write(rows_of(["BTC"], [0], [0], mid=[1.0]), folder / "a.parquet")
    write(rows_of(["BTC"], [10], [10], mid=[2.0], depth=pa.array([3], pa.int64())), folder / "b.parquet")
    store = make_store([SYMBOL, view_of(folder, [Field(name="mid", dtype=Float64), Field(name="depth", dtype=Int64)])])
    table = store.get_historical_features(entity_rows(["BTC", "BTC"], [5, 15]), ["book:mid", "book:depth"]).to_arrow()
    assert table["mid"].to_pylist() == [1.0, 2.0]
    assert table["depth"].to_pylist() == [None, 3]
    assert table["depth"].type == pa.int64()


def test_a_column_that_only_other_partitions_have_is_null_of_its_type(make_store: MakeStore, tmp_path: Path) -> None:
    folder = tmp_path / "book"
    bare = rows_of(["-"], [0], [0], mid=[1.0]).drop_columns(["symbol"])
    write(bare, folder / "symbol=BTC" / "a.parquet")
    write(bare.append_column("depth", pa.array([3], pa.int64())), folder / "symbol=ETH" / "a.parquet")
    store = make_store(
        [SYMBOL, view_of(folder, [Field(name="mid", dtype=Float64), Field(name="depth", dtype=Float64)])]
    )
    table = store.get_historical_features(entity_rows(["BTC"], [5]), ["book:mid", "book:depth"]).to_arrow()
    assert (table["mid"].to_pylist(), table["depth"].to_pylist(), table["depth"].type) == ([1.0], [None], pa.int64())


def test_an_empty_folder_gives_nulls_and_a_missing_one_is_named(make_store: MakeStore, tmp_path: Path) -> None:
    folder = tmp_path / "book"
    folder.mkdir()
    store = make_store([SYMBOL, view_of(folder, [Field(name="mid", dtype=Float64), Field(name="n", dtype=Int64)])])
    job = store.get_historical_features(entity_rows(["BTC"], [5]), ["book:mid", "book:n"])
    assert job.to_arrow()["n"].type == pa.int64()
    assert job.to_df()["mid"].isna().all()
    folder.rmdir()
    with pytest.raises(NotFound, match=str(folder)):
        job.to_df()


def test_no_entity_row_gives_no_row_with_all_columns(make_store: MakeStore, book: FeatureView) -> None:
    asked = entity_rows(["BTC"], [5]).iloc[:0]
    table = make_store([SYMBOL, book]).get_historical_features(asked, ["book:mid"]).to_arrow()
    assert (table.num_rows, table.column_names) == (0, ["symbol", "event_timestamp", "mid"])
    assert table["mid"].type == pa.float64()


def test_keys_are_found_through_renamed_joins_field_mappings_and_several_entities(
    make_store: MakeStore, tmp_path: Path
) -> None:
    table = rows_of(
        ["BTC", "BTC", "ETH", "BTC"],
        [0] * 4,
        [0] * 4,
        raw_mid=[1.0, 2.0, 3.0, 4.0],
        exchange=[1, 2, 1, 2**53 + 1],  # no float64 holds the last
    )
    path = write(table, tmp_path / "book.parquet")
    view = FeatureView(
        name="book",
        entities=[SYMBOL, VENUE],
        schema=[
            Field(name="symbol", dtype=String),
            Field(name="venue", dtype=Int64),
            Field(name="mid", dtype=Float64),
        ],
        source=FileSource(
            path=str(path),
            timestamp_field="event_timestamp",
            created_timestamp_column="created",
            field_mapping={"raw_mid": "mid", "exchange": "venue"},
        ),
    )
    store = make_store([SYMBOL, VENUE, view])
    asked = pd.DataFrame(
        {
            "event_timestamp": [at(1)] * 3,
            "symbol": ["BTC", "ETH", "BTC"],
            "hedge": ["ETH", "BTC", None],
            "venue": [2.0, 1.0, np.nan],  # what pandas makes of integers with a null
        }
    )

    traded = view.with_name("traded_book")
    hedge = view.with_name("hedge_book").with_join_key_map({"symbol": "hedge"})
    service = FeatureService(name="pair", features=[traded, hedge])
    store.apply([service])
    table = store.get_historical_features(asked, service, full_feature_names=True).to_arrow()
    assert table["traded_book__mid"].to_pylist() == [2.0, 3.0, None]
    assert table["hedge_book__mid"].to_pylist() == [None, 1.0, None]


def test_a_view_without_entities_answers_every_row(make_store: MakeStore, tmp_path: Path) -> None:
    path = write(rows_of(["-"] * 2, [0, 10], [0, 10], rate=[1.0, 2.0]), tmp_path / "funding.parquet")
    view = FeatureView(
        name="funding",
        entities=[],
        schema=[Field(name="rate", dtype=Float64)],
        source=FileSource(path=str(path), timestamp_field="event_timestamp", created_timestamp_column="created"),
    )
    store = make_store([view])
    frame = store.get_historical_features(entity_rows(["BTC", "ETH"], [15, 5]), ["funding:rate"]).to_df()
    assert frame["rate"].tolist() == [2.0, 1.0]
    # FeatureStore hides the key that Feast's registry makes up for such a view; other callers of a store do not.
    made_up = store.registry.get_feature_view("funding", "market")
    job = store._get_provider().get_historical_features(
        store.config,
        [made_up],
        ["funding:rate"],
        entity_rows(["BTC"], [5]),
        store.registry,
        "market",
        full_feature_names=False,
    )
    assert job.to_df()["rate"].tolist() == [1.0]
    store.materialize(at(0), at(10))
    assert store.get_online_features(["funding:rate"], [{"symbol": "BTC"}]).to_dict()["rate"] == [2.0]


@pytest.mark.filterwarnings("ignore:On demand feature view is an experimental feature:RuntimeWarning")
def test_on_demand_views_are_computed_on_the_joined_rows(make_store: MakeStore, book: FeatureView) -> None:
    def scale(frame: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"scaled": frame["mid"] * frame["factor"]})

    request = RequestSource(name="request", schema=[Field(name="factor", dtype=Float64)])
    scaled = OnDemandFeatureView(
        name="scaled_book",
        sources=[book, request],
        schema=[Field(name="scaled", dtype=Float64)],
        feature_transformation=PandasTransformation(udf=scale, udf_string="scale"),
        mode="pandas",
    )
    store = make_store([SYMBOL, book, scaled])
    asked = entity_rows(["BTC", "BTC"], [15, 5]).assign(factor=[10.0, 100.0])
    asked.index = pd.Index(["x", "y"])
    frame = store.get_historical_features(asked, ["book:mid", "scaled_book:scaled"]).to_df()
    assert frame["scaled"].to_dict() == {"x": 20.0, "y": 100.0}


def test_a_span_of_time_is_answered_with_its_own_keys_and_times(make_store: MakeStore, tmp_path: Path) -> None:
    symbols = ["BTC", "BTC", "BTC", "BTC", None]  # no entity has a null key
    table = rows_of(symbols, [0, 10, 20, 20, 15], [0, 10, 20, 60, 15], mid=[1.0, 2.0, 3.0, 99.0, -1.0])
    path = write(table, tmp_path / "book.parquet")
    store = make_store([SYMBOL, view_of(path, [Field(name="mid", dtype=Float64)])], bitemporal=True)
    job = store.get_historical_features(features=["book:mid"], start_date=at(10), end_date=at(20))
    frame = job.to_df()
    assert frame.columns.tolist() == ["event_timestamp", "symbol", "mid"]
    assert frame["event_timestamp"].tolist() == [at(10), at(20)]
    assert frame["mid"].tolist() == [2.0, 3.0]
    assert job.metadata is not None
    assert (job.metadata.min_event_timestamp, job.metadata.max_event_timestamp) == (at(10), at(20))


# --- materialization, writing, saved data sets -------------------------------------------------------------------


def test_materialized_values_are_the_newest_inside_both_ends(make_store: MakeStore, book: FeatureView) -> None:
    store = make_store([SYMBOL, book])
    store.materialize(at(0), at(10))
    assert store.get_online_features(["book:mid"], [{"symbol": "BTC"}]).to_dict()["mid"] == [2.0]
    store.materialize(at(0), at(20))
    assert store.get_online_features(["book:mid"], [{"symbol": "BTC"}]).to_dict()["mid"] == [99.0]


def test_a_pull_gives_all_rows_or_each_key_once(make_store: MakeStore, book: FeatureView) -> None:
    store = make_store([SYMBOL, book])
    offline = store._get_provider().offline_store
    source = book.batch_source
    assert source is not None
    columns = (["symbol"], ["mid"], "event_timestamp", "created")
    every = offline.pull_all_from_table_or_query(store.config, source, *columns, at(10), at(20)).to_df()
    assert every["mid"].tolist() == [2.0, 3.0, 99.0]
    latest = offline.pull_latest_from_table_or_query(store.config, source, *columns, at(0), at(20)).to_df()
    assert latest.to_dict("list") == {
        "symbol": ["BTC"],
        "mid": [99.0],
        "event_timestamp": [at(20)],
        "created": [at(60)],
    }


@pytest.mark.parametrize("layout", ["file", "folder", "hive"])
def test_written_rows_are_read_after_those_there_were(make_store: MakeStore, tmp_path: Path, layout: str) -> None:
    first = rows_of(["BTC"], [0], [0], mid=[1.0])
    if layout == "file":
        path = write(first, tmp_path / "book.parquet")
    elif layout == "folder":
        path = write(first, tmp_path / "book" / "part-00000000.parquet").parent
    else:
        path = tmp_path / "book"
        write(first.drop_columns(["symbol"]), path / "symbol=BTC" / "part-00000000.parquet")
    source = PushSource(
        name="push",
        batch_source=FileSource(path=str(path), timestamp_field="event_timestamp", created_timestamp_column="created"),
    )
    view = FeatureView(
        name="book",
        entities=[SYMBOL],
        schema=[Field(name="symbol", dtype=String), Field(name="mid", dtype=Float64)],
        source=source,
    )
    store = make_store([SYMBOL, source, view])
    for mid in (2.0, 3.0):
        rows = rows_of(["BTC", "A/B"], [0, 0], [0, 0], mid=[mid, -mid]).to_pandas()
        store.push("push", rows, to=PushMode.OFFLINE)
    frame = store.get_historical_features(entity_rows(["BTC", "A/B"], [1, 1]), ["book:mid"]).to_df()
    assert frame["mid"].tolist() == [3.0, -3.0]
    stored = sorted(file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*.parquet"))
    assert (
        stored
        == {
            "file": ["book.parquet"],
            "folder": [f"book/part-0000000{n}.parquet" for n in range(3)],
            "hive": [f"book/symbol=A%2FB/part-0000000{n}.parquet" for n in range(2)]
            + [f"book/symbol=BTC/part-0000000{n}.parquet" for n in range(3)],
        }[layout]
    )
    assert not list(tmp_path.rglob("*.unfinished"))


def test_rows_of_other_columns_or_types_are_not_written(make_store: MakeStore, book: FeatureView) -> None:
    store = make_store([SYMBOL, book])
    provider = store._get_provider()
    good = rows_of(["BTC"], [0], [0], mid=[1.0])
    with pytest.raises(InvalidRequest, match="columns"):
        provider.ingest_df_to_offline_store(book, good.drop_columns(["mid"]))
    with pytest.raises(InvalidRequest, match="types"):
        provider.ingest_df_to_offline_store(book, good.set_column(3, "mid", pa.array(["one"])))


@pytest.mark.filterwarnings("ignore:.*dataset.* is an experimental feature:RuntimeWarning")
@pytest.mark.parametrize("name", ["training.parquet", "training"])
def test_a_saved_data_set_is_read_back_and_not_overwritten_unasked(
    make_store: MakeStore, book: FeatureView, tmp_path: Path, name: str
) -> None:
    store = make_store([SYMBOL, book], bitemporal=True)
    storage = SavedDatasetFileStorage(path=name)  # relative to the repository
    job = store.get_historical_features(entity_rows(["BTC", "BTC"], [15, 5]), ["book:mid"])
    store.create_saved_dataset(job, "training", storage)
    assert store.get_saved_dataset("training").to_df()["mid"].tolist() == [2.0, 1.0]
    assert (tmp_path / name).exists()

    with pytest.raises(SavedDatasetLocationAlreadyExists):
        store.create_saved_dataset(job, "again", storage)
    shorter = store.get_historical_features(entity_rows(["BTC"], [25]), ["book:mid"])
    if not name.endswith(".parquet"):
        write(job.to_arrow(), tmp_path / name / "part-00000001.parquet")
    store.create_saved_dataset(shorter, "shorter", storage, allow_overwrite=True)
    assert store.get_saved_dataset("shorter").to_df()["mid"].tolist() == [3.0]
    stored = [file.relative_to(tmp_path).as_posix() for file in (tmp_path / name.partition(".")[0]).rglob("*.parquet")]
    assert stored == ([] if name.endswith(".parquet") else ["training/part-00000000.parquet"])


# --- refusals ----------------------------------------------------------------------------------------------------


def test_sql_is_refused(make_store: MakeStore, book: FeatureView) -> None:
    with pytest.raises(InvalidRequest, match="entity_df: must be a pandas DataFrame, this store runs no SQL"):
        make_store([SYMBOL, book]).get_historical_features("select 1", ["book:mid"])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (pd.DataFrame({"symbol": ["BTC"]}), "entity_df: must have the column event_timestamp"),
        (pd.DataFrame({"event_timestamp": [T0]}), "entity_df: must have the join key symbol"),
        (pd.DataFrame({"symbol": ["BTC"], "event_timestamp": [5]}), r"entity_df\.event_timestamp: must hold datetimes"),
        (pd.DataFrame({"symbol": ["BTC"], "event_timestamp": [T0], "mid": [1]}), "mid: must not be a column twice"),
    ],
)
def test_an_unusable_entity_frame_is_refused_by_name(
    make_store: MakeStore, book: FeatureView, asked: pd.DataFrame, message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        make_store([SYMBOL, book]).get_historical_features(asked, ["book:mid"])


def test_a_key_of_a_wrong_type_is_refused_by_name(make_store: MakeStore, book: FeatureView) -> None:
    asked = pd.DataFrame({"symbol": [5], "event_timestamp": [at(1)]})
    with pytest.raises(InvalidRequest, match=r"entity_df\.symbol: must have the type of .*symbol, string, was int64"):
        make_store([SYMBOL, book]).get_historical_features(asked, ["book:mid"]).to_df()


def test_a_fraction_is_refused_as_the_key_of_an_integer_column(make_store: MakeStore, tmp_path: Path) -> None:
    table = rows_of(["BTC"], [0], [0], mid=[1.0], venue=[1])
    view = FeatureView(
        name="book",
        entities=[VENUE],
        schema=[Field(name="venue", dtype=Int64), Field(name="mid", dtype=Float64)],
        source=FileSource(path=str(write(table, tmp_path / "book.parquet")), timestamp_field="event_timestamp"),
    )
    asked = pd.DataFrame({"venue": [1.5], "event_timestamp": [at(1)]})
    with pytest.raises(InvalidRequest, match=r"entity_df\.venue: must have the type of .*venue, int64, was double"):
        make_store([VENUE, view]).get_historical_features(asked, ["book:mid"]).to_df()


def test_a_column_that_no_file_has_is_refused_by_name(make_store: MakeStore, tmp_path: Path) -> None:
    path = write(rows_of(["BTC"], [0], [0], mid=[1.0]), tmp_path / "book.parquet")
    view = view_of(path, [Field(name="mid", dtype=Float64), Field(name="depth", dtype=Float64)])
    store = make_store([SYMBOL, view])
    with pytest.raises(InvalidRequest, match="depth: must be a column of the source"):
        store.get_historical_features(entity_rows(["BTC"], [1]), ["book:depth"]).to_df()


def test_a_source_without_its_time_column_is_refused_by_name(make_store: MakeStore, tmp_path: Path) -> None:
    path = write(rows_of(["BTC"], [0], [0], mid=[1.0]).drop_columns(["event_timestamp"]), tmp_path / "book.parquet")
    store = make_store([SYMBOL, view_of(path, [Field(name="mid", dtype=Float64)])])
    with pytest.raises(InvalidRequest, match="event_timestamp: must be a column of the source"):
        store.get_historical_features(entity_rows(["BTC"], [1]), ["book:mid"]).to_df()


def test_the_configuration_knows_its_own_name() -> None:
    assert AsOfOfflineStoreConfig().type == OURS


# --- what else Feast asks a store for ----------------------------------------------------------------------------


@pytest.mark.parametrize("is_there", [False, True])
def test_materializing_a_source_without_rows_brings_none_and_stops_no_other_view(
    make_store: MakeStore, book: FeatureView, tmp_path: Path, *, is_there: bool
) -> None:
    empty = FeatureView(
        name="empty",
        entities=[SYMBOL],
        schema=[Field(name="symbol", dtype=String), Field(name="depth", dtype=Int64)],
        source=FileSource(
            path=str(tmp_path / "nothing"), timestamp_field="event_timestamp", created_timestamp_column="created"
        ),
    )
    if is_there:
        (tmp_path / "nothing").mkdir()
    store = make_store([SYMBOL, book, empty])
    store.materialize(at(-1), at(100))
    asked = store.get_online_features(["book:mid", "empty:depth"], [{"symbol": "BTC"}]).to_dict()
    assert (asked["mid"], asked["depth"]) == ([99.0], [None])


def test_a_source_that_cannot_be_read_is_refused_when_it_is_validated_with_what_to_do(
    make_store: MakeStore, book: FeatureView, tmp_path: Path
) -> None:
    store = make_store([SYMBOL, book])

    def validate(path: Path, timestamp: str = "when") -> None:
        store._get_provider().validate_data_source(
            store.config, FileSource(name="prices", path=str(path), timestamp_field=timestamp)
        )

    validate(tmp_path / "not there yet.parquet")
    (tmp_path / "prices.csv").write_text("symbol,when,close\nBTC,2026-03-01,1.0\n")
    with pytest.raises(InvalidRequest, match=r"prices: must be Parquet.*read_csv\(path, parse_dates=\['when'\]\)"):
        validate(tmp_path / "prices.csv")
    texts = write(pa.table({"symbol": ["BTC"], "when": ["2026-03-01"], "close": [1.0]}), tmp_path / "texts.parquet")
    with pytest.raises(InvalidRequest, match=r"prices.when: must be a timestamp column, was string; .*to_datetime"):
        validate(texts)
    with pytest.raises(InvalidRequest, match=r"prices.at: must be a column of the source"):
        validate(texts, "at")


def test_logged_features_are_appended_and_read_back_as_a_source(make_store: MakeStore, tmp_path: Path) -> None:
    view = view_of(tmp_path / "unused.parquet", [Field(name="mid", dtype=Float64)])
    destination = FileLoggingDestination(path="logs/served", partition_by=["symbol"])
    service = FeatureService(name="model", features=[view], logging_config=LoggingConfig(destination=destination))
    store = make_store([SYMBOL, view, service])
    for second, mids in ((0, [1.0, 2.0]), (10, [3.0, None])):
        logged = pa.table(
            {
                "symbol": ["BTC", "ETH/USD"],
                "book__mid": pa.array(mids, pa.float64()),
                "book__mid__timestamp": [at(second)] * 2,
                "book__mid__status": pa.array([1, 1], pa.int32()),
                "__log_timestamp": [at(second)] * 2,
                "__log_date": [at(second).date()] * 2,
                "__request_id": [str(second)] * 2,
            }
        )
        store.write_logged_features(logged, service)
    served = FeatureView(
        name="served",
        entities=[SYMBOL],
        schema=[Field(name="symbol", dtype=String), Field(name="book__mid", dtype=Float64)],
        source=FileSource(path="logs/served", timestamp_field="__log_timestamp"),
    )
    store.apply([served])
    asked = entity_rows(["BTC", "ETH/USD", "BTC"], [5, 5, 15])
    found = store.get_historical_features(asked, ["served:book__mid"]).to_df()["book__mid"]
    assert found.tolist() == [1.0, 2.0, 3.0]


def test_monitoring_figures_of_a_view_are_computed_kept_and_found(make_store: MakeStore, book: FeatureView) -> None:
    store = make_store([SYMBOL, book])
    offline, source = store._get_provider().offline_store, book.batch_source
    assert source is not None
    assert offline.get_monitoring_max_timestamp(store.config, source, "event_timestamp") == at(20)
    [figures] = offline.compute_monitoring_metrics(
        store.config, source, [("mid", "numeric")], "event_timestamp", at(0), at(10)
    )
    assert (figures["feature_name"], figures["row_count"], figures["mean"]) == ("mid", 2, 1.5)
    offline.ensure_monitoring_tables(store.config)
    assert offline.query_monitoring_metrics(store.config, "market", "feature") == []


def test_what_a_result_cannot_become_says_what_to_do(make_store: MakeStore, book: FeatureView) -> None:
    job = make_store([SYMBOL, book]).get_historical_features(entity_rows(["BTC"], [15]), ["book:mid"])
    assert not job.supports_remote_storage_export()
    for become, instead in ((job.to_sql, "to_arrow"), (job.to_remote_storage, "persist")):
        with pytest.raises(InvalidRequest, match=instead):
            become()


@pytest.mark.parametrize(("become", "package"), [("to_tensor", "torch"), ("to_ray_dataset", "ray")])
def test_what_a_result_becomes_with_a_package_alone_names_it(
    make_store: MakeStore, book: FeatureView, monkeypatch: pytest.MonkeyPatch, become: str, package: str
) -> None:
    job = make_store([SYMBOL, book]).get_historical_features(entity_rows(["BTC"], [15]), ["book:mid"])
    monkeypatch.setitem(sys.modules, package, None)  # as where it is not installed
    with pytest.raises(ImportError, match=package):
        getattr(job, become)()


@pytest.mark.filterwarnings("ignore:Stream feature views are experimental:RuntimeWarning")
def test_a_stream_view_is_joined_from_its_batch_source(make_store: MakeStore, book: FeatureView) -> None:
    heard = PushSource(name="ticks_pushed", batch_source=cast("FileSource", book.batch_source))
    ticks = StreamFeatureView(
        name="ticks", entities=[SYMBOL], ttl=timedelta(hours=1), schema=[Field(name="mid", dtype=Float64)], source=heard
    )
    store = make_store([SYMBOL, ticks], bitemporal=True)
    found = store.get_historical_features(entity_rows(["BTC", "BTC"], [25, 65]), ["ticks:mid"]).to_df()
    assert found["mid"].tolist() == [3.0, 99.0]


class _Least(Profile):
    """A profile of one number: the least value that a column may have."""

    def __init__(self, least: float) -> None:
        self.least = least

    def validate(self, dataset: pd.DataFrame) -> ValidationReport:
        too_small = dataset[dataset["mid"] < self.least]

        class Report(ValidationReport):
            is_success = too_small.empty
            errors: ClassVar[list[Any]] = too_small["mid"].tolist()

        return Report()

    def to_proto(self) -> Any:  # noqa: ANN401  # untyped in Feast
        raise NotImplementedError

    @classmethod
    def from_proto(cls, proto: Any) -> Profile:  # noqa: ANN401  # untyped in Feast
        raise NotImplementedError


@pytest.mark.filterwarnings("ignore:.*experimental feature:RuntimeWarning")
def test_an_answer_is_validated_against_a_reference(make_store: MakeStore, book: FeatureView) -> None:
    job = make_store([SYMBOL, book]).get_historical_features(entity_rows(["BTC", "BTC"], [5, 15]), ["book:mid"])
    reference = ValidationReference(name="of march", dataset_name="march", profiler=cast("Profiler", None))
    reference._profile = _Least(1.0)
    assert job.to_df(validation_reference=reference)["mid"].tolist() == [1.0, 2.0]
    reference._profile = _Least(1.5)
    with pytest.raises(ValidationFailed):
        job.to_df(validation_reference=reference)
