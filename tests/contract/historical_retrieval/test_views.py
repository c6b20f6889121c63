"""Historical retrieval from any views of Feast: joined, renamed, mapped, computed, and refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureService, FeatureView, Field, FileSource, OnDemandFeatureView, RequestSource
from feast.errors import FeatureNameCollisionError, RequestDataNotFoundInEntityDfException
from feast.transformation.pandas_transformation import PandasTransformation
from feast.types import Float64, Int64

from feature_repo.retrieval_job import AsOfRetrievalJob
from tests.driver_tables import CUSTOMER, DRIVER, NAN, PLACE, MakeStore, driver_view, source, stored
from tests.stored_books import at


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
    assert [part["scaled"].to_pylist() for part in job.to_arrow_batches(1)] == [[0.2], [0.8]]


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


def test_a_feature_that_the_view_has_not_is_refused_by_name(make_store: MakeStore, drivers: FeatureView) -> None:
    asked = pd.DataFrame({"driver_id": [1], "event_timestamp": [at(0)]})
    with pytest.raises(KeyError, match="Feature speed not found in projection driver_stats"):
        make_store(DRIVER, drivers).get_historical_features(asked, ["driver_stats:speed"])
