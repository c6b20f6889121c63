"""The client's historical features are what was available, and a report proves it or does not."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, String

from feature_client import FeatureStoreClient, HistoricalFeatures
from feature_client.historical import pit_report
from market.clock import MILLISECOND_NS
from market.errors import InvalidRequest


@pytest.fixture
def history(repo_path: Path) -> None:
    """One symbol: a row a second, created 20 ms later; second 1 is restated at second 3."""
    events = [0, 1, 2, 1]
    created = [0.02, 1.02, 2.02, 3.0]
    start = datetime(2026, 3, 1, tzinfo=UTC)
    path = repo_path / "price.parquet"
    table = pa.table(
        {
            "symbol": ["BTCUSDT"] * 4,
            "event_timestamp": [start + timedelta(seconds=second) for second in events],
            "created_timestamp": [start + timedelta(seconds=second) for second in created],
            "mid_price": [10.0, 11.0, 12.0, 99.0],
        }
    )
    pq.write_table(table, path)
    symbol = Entity(name="symbol", join_keys=["symbol"], value_type=ValueType.STRING)
    view = FeatureView(
        name="price",
        entities=[symbol],
        schema=[Field(name="symbol", dtype=String), Field(name="mid_price", dtype=Float64)],
        source=FileSource(
            path=str(path), timestamp_field="event_timestamp", created_timestamp_column="created_timestamp"
        ),
    )
    FeatureStore(repo_path=str(repo_path)).apply([symbol, view])


def asked_at(*seconds: float) -> pd.DataFrame:
    start = datetime(2026, 3, 1, tzinfo=UTC)
    return pd.DataFrame({"symbol": "BTCUSDT", "event_timestamp": [start + timedelta(seconds=s) for s in seconds]})


@pytest.mark.usefixtures("history")
def test_history_is_what_was_available_and_the_report_proves_it(client: FeatureStoreClient) -> None:
    found = client.get_historical_features(asked_at(1.01, 1.02, 0.01, 1.5, 2.5), ["price:mid_price"])
    np.testing.assert_array_equal(found.to_df()["mid_price"], [10.0, 11.0, np.nan, 11.0, 12.0])
    assert found.pit_report.is_proven
    price = found.pit_report.views["price"]
    assert (price.rows, price.found, price.violations) == (5, 4, 0)
    assert price.latest_created_lead_ns == 0
    assert price.latest_event_lead_ns == -20 * MILLISECOND_NS
    assert client.get_retrieval_stats().null_rates == {"price:mid_price": 0.2}


@pytest.mark.usefixtures("history")
def test_a_feature_that_no_view_has_is_refused_by_name(client: FeatureStoreClient) -> None:
    with pytest.raises(InvalidRequest, match="nothing"):
        client.get_historical_features(asked_at(1), ["price:nothing"])


@pytest.mark.parametrize(("unit", "in_ns"), [("ns", 1), ("us", 1000)])
def test_the_report_counts_values_from_the_future(unit: Literal["ns", "us"], in_ns: int) -> None:
    times = pa.timestamp(unit, "UTC")
    provenance = pa.table(
        {
            "asked": pa.array([10 * in_ns] * 4, pa.timestamp("ns", "UTC")),
            "v__event": pa.array([11, 10, 5, None], times),
            "v__created": pa.array([None, 12, 10, None], times),
        }
    )
    report = pit_report(provenance)
    assert not report.is_proven
    evidence = report.views["v"]
    assert (evidence.found, evidence.violations) == (3, 2)
    assert (evidence.latest_event_lead_ns, evidence.latest_created_lead_ns) == (in_ns, 2 * in_ns)


def test_a_view_that_does_not_say_when_its_rows_could_be_read_is_never_proven(
    repo_path: Path, client: FeatureStoreClient
) -> None:
    """A daily bar is stamped with the midnight that its day begins with, and holds the close of its evening."""
    path = repo_path / "bars.parquet"
    midnight = datetime(2026, 3, 2, tzinfo=UTC)
    pq.write_table(pa.table({"symbol": ["AAPL"], "event_timestamp": [midnight], "close": [101.0]}), path)
    symbol = Entity(name="symbol", join_keys=["symbol"], value_type=ValueType.STRING)
    view = FeatureView(
        name="bars",
        entities=[symbol],
        schema=[Field(name="symbol", dtype=String), Field(name="close", dtype=Float64)],
        source=FileSource(path=str(path), timestamp_field="event_timestamp"),
    )
    FeatureStore(repo_path=str(repo_path)).apply([symbol, view])
    asked = pd.DataFrame({"symbol": ["AAPL", "MSFT"], "event_timestamp": [midnight + timedelta(hours=14.5)] * 2})
    with pytest.warns(UserWarning, match=r"bars: must say from when on each row could be read"):
        found = client.get_historical_features(asked, ["bars:close"])
    assert not found.pit_report.is_proven
    assert found.pit_report.undated_views == ["bars"]
    assert (found.pit_report.views["bars"].found, found.pit_report.views["bars"].undated) == (1, 1)


def test_an_offline_store_that_cannot_prove_it_is_refused(repo_path: Path, history: None) -> None:
    path = repo_path / "feature_store.yaml"
    config = yaml.safe_load(path.read_text())
    del config["offline_store"]
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(InvalidRequest, match=r"must be feature_repo\.offline_store\.AsOfOfflineStore"):
        FeatureStoreClient(repo_path).get_historical_features(asked_at(1), ["price:mid_price"])


def test_historical_features_are_a_frame_whose_proof_is_an_attribute(
    repo_path: Path, client: FeatureStoreClient
) -> None:
    path, at = repo_path / "rows.parquet", datetime(2026, 3, 2, tzinfo=UTC)
    pq.write_table(pa.table({"symbol": ["A"], "event_timestamp": [at], "created": [at], "close": [101.0]}), path)
    symbol = Entity(name="symbol", join_keys=["symbol"], value_type=ValueType.STRING)
    view = FeatureView(
        name="bars",
        entities=[symbol],
        schema=[Field(name="symbol", dtype=String), Field(name="close", dtype=Float64)],
        source=FileSource(path=str(path), timestamp_field="event_timestamp", created_timestamp_column="created"),
    )
    FeatureStore(repo_path=str(repo_path)).apply([symbol, view])
    asked = pd.DataFrame({"symbol": ["A"], "event_timestamp": [at]})
    found = client.get_historical_features(asked, ["bars:close"])
    assert isinstance(found, pd.DataFrame)
    assert isinstance(found, HistoricalFeatures)
    assert found["close"].tolist() == [101.0]
    assert found.pit_report.is_proven
    assert type(found[found["close"] > 0]) is pd.DataFrame  # other rows, whose proof this is not
    assert type(found.to_df()) is pd.DataFrame

    # One client reads both, though its yaml is one that Feast alone can read.
    config = yaml.safe_load((repo_path / "feature_store.yaml").read_text())
    of_feast = {name: value for name, value in config.items() if name != "offline_store"}
    for name, yaml_of_it in (("client", of_feast), ("historical", config)):
        (repo_path / name).mkdir()
        (repo_path / name / "feature_store.yaml").write_text(yaml.safe_dump(yaml_of_it))
    with closing(FeatureStoreClient(repo_path / "client")) as reader:
        assert reader.get_historical_features(asked, ["bars:close"])["close"].tolist() == [101.0]
