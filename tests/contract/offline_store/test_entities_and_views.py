"""Entities that are renamed, several or none, computed and stream views, spans of time, and keys that are refused."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from feast import FeatureService, FeatureView, Field, FileSource, OnDemandFeatureView, RequestSource, StreamFeatureView
from feast.data_source import PushSource
from feast.transformation.pandas_transformation import PandasTransformation
from feast.types import Float64, Int64, String

from market.errors import InvalidRequest
from tests.stored_books import SYMBOL, T0, VENUE, MakeStore, at, entity_rows, rows_of, view_of, write


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


@pytest.mark.filterwarnings("ignore:Stream feature views are experimental:RuntimeWarning")
def test_a_stream_view_is_joined_from_its_batch_source(make_store: MakeStore, book: FeatureView) -> None:
    heard = PushSource(name="ticks_pushed", batch_source=cast("FileSource", book.batch_source))
    ticks = StreamFeatureView(
        name="ticks", entities=[SYMBOL], ttl=timedelta(hours=1), schema=[Field(name="mid", dtype=Float64)], source=heard
    )
    store = make_store([SYMBOL, ticks], bitemporal=True)
    found = store.get_historical_features(entity_rows(["BTC", "BTC"], [25, 65]), ["ticks:mid"]).to_df()
    assert found["mid"].tolist() == [3.0, 99.0]


# Refusals


def test_sql_is_refused(make_store: MakeStore, book: FeatureView) -> None:
    with pytest.raises(
        InvalidRequest, match="entity_df: must be a pandas DataFrame or the path of Parquet, this store runs no SQL"
    ):
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
