"""What the offline store writes: materialized and pushed rows, saved data sets and logged features."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from feast import FeatureService, FeatureView, Field, FileSource
from feast.data_source import PushMode, PushSource
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.feature_logging import LoggingConfig
from feast.infra.offline_stores.file_source import FileLoggingDestination, SavedDatasetFileStorage
from feast.types import Float64, Int64, String

from market.errors import InvalidRequest
from tests.stored_books import SYMBOL, MakeStore, at, entity_rows, rows_of, view_of, write


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
