"""The client on a real Redis: nothing from after the time asked for, and a reason for all that is not known."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feature_client import FeatureStoreClient, LookAheadError, ServedDifferently
from feature_repo.freshness import TIME_TO_LIVE
from market.clock import MILLISECOND_NS, SECOND_NS, ManualClock, to_datetime
from market.errors import InvalidRequest, NotFound
from storage.online.store import OnlineStore
from storage.online.vector import OnlineRow
from tests.client_rows import entities, put
from tests.three_features import OURS, SET, B
from transforms.status import OK


def test_values_come_in_the_order_asked_with_what_is_not_known_and_why(
    writer: OnlineStore, client: FeatureStoreClient
) -> None:
    put(writer, [100.5, np.nan, 0.1])
    found = client.get_online_features(OURS, entities("BTCUSDT", "NOSUCH"))
    assert found.to_dict() == {
        "symbol": ["BTCUSDT", "NOSUCH"],
        "mid_price": [100.5, None],
        "vwap_3s": [None, None],
        "spread_abs": [0.1, None],
    }
    known, unknown = found.features
    assert [known[name].status for name in OURS] == ["PRESENT", "MISSING", "PRESENT"]
    assert known["orderflow:vwap_3s"].reason == "WARMUP"
    assert known["price:mid_price"].age == timedelta(seconds=1)
    assert [known[name].group_status for name in OURS] == ["OK", "WARMUP", "OK"]
    assert {feature.group_status for feature in unknown.values()} == {None}
    assert {feature.status for feature in unknown.values()} == {"UNKNOWN_ENTITY"}


def test_a_value_older_than_its_view_may_be_is_stale_and_told_apart_from_missing(
    writer: OnlineStore, repo_path: Path, clock: ManualClock
) -> None:
    put(writer, [100.5, 1.0, np.nan])
    client = FeatureStoreClient(repo_path, clock=clock, fresh_for={"price": timedelta(seconds=5)})
    clock.set(B + 5 * SECOND_NS)
    [row] = client.get_online_features(OURS, entities("BTCUSDT")).features
    assert row["price:mid_price"].status == "PRESENT"
    clock.set(B + 5 * SECOND_NS + 1_000)
    [row] = client.get_online_features(OURS, entities("BTCUSDT")).features
    assert [row[name].status for name in OURS] == ["STALE", "PRESENT", "MISSING"]
    assert row["price:mid_price"].value == 100.5
    client.close()


def test_a_value_from_after_the_time_asked_for_is_an_error_with_its_name_and_times(
    writer: OnlineStore, client: FeatureStoreClient
) -> None:
    put(writer, [100.5, 1.0, 0.1])
    available = to_datetime(B + 20 * MILLISECOND_NS)
    at_once = client.get_online_features(OURS, entities("BTCUSDT"), as_of_timestamp=available)
    assert at_once.to_dict()["mid_price"] == [100.5]
    for moment in (
        available - timedelta(microseconds=1),
        to_datetime(B),
        to_datetime(B - 1).astimezone().replace(tzinfo=None),
    ):
        with pytest.raises(ValueError, match=r"price:mid_price, .* of BTCUSDT: must be known at .* available at"):
            client.get_online_features(OURS, entities("BTCUSDT"), as_of_timestamp=moment)
    assert issubclass(LookAheadError, InvalidRequest)
    assert client.get_retrieval_stats().pit_violations == 3


def test_a_row_of_later_than_the_time_asked_for_is_refused_whenever_it_was_written(
    writer: OnlineStore, client: FeatureStoreClient
) -> None:
    values, status = np.array([100.5, 1.0, 0.1]), np.array([OK, OK], np.int8)
    writer.write([OnlineRow("BTCUSDT", SET, B, B - 900 * MILLISECOND_NS, values, status, {})], now_ns=B)
    with pytest.raises(LookAheadError, match="must be known at"):
        client.get_online_features(OURS, entities("BTCUSDT"), as_of_timestamp=to_datetime(B - 1_000))
    at_once = client.get_online_features(OURS, entities("BTCUSDT"), as_of_timestamp=to_datetime(B))
    assert at_once.to_dict()["mid_price"] == [100.5]


@pytest.mark.parametrize("reference", ["price:vwap_3s", "price:nothing", "nothing:mid_price", "mid_price", ":x", "x:"])
def test_a_reference_that_the_rows_have_not_is_refused_by_name(
    writer: OnlineStore, client: FeatureStoreClient, reference: str
) -> None:
    put(writer, [100.5, 1.0, 0.1])
    with pytest.raises(InvalidRequest, match=reference):
        client.get_online_features([reference], entities("BTCUSDT"))


def test_entity_rows_are_symbols(client: FeatureStoreClient) -> None:
    with pytest.raises(InvalidRequest, match="entity_rows"):
        client.get_online_features(OURS, [{"ticker": "BTCUSDT"}])
    in_place_of_rows: Any = OURS
    with pytest.raises(InvalidRequest, match="entity_rows"):
        client.get_online_features(OURS, in_place_of_rows)
    in_place_of_features: Any = entities("BTCUSDT")
    with pytest.raises(InvalidRequest, match=r"feature_refs: must be <view>:<feature>, was \{'symbol': 'BTCUSDT'\}"):
        client.get_online_features(in_place_of_features, in_place_of_rows)


def test_a_model_of_another_registry_version_or_feature_set_than_is_served_is_refused(
    writer: OnlineStore, client: FeatureStoreClient
) -> None:
    put(writer, [100.5, 1.0, 0.1])
    client.check_served("BTCUSDT", feature_registry_version="1.0.0", feature_set="f00d")
    with pytest.raises(ServedDifferently, match=r"registry version 2\.0\.0, feature set f00d, .* was 1\.0\.0, f00d"):
        client.check_served("BTCUSDT", feature_registry_version="2.0.0", feature_set="f00d")
    with pytest.raises(ValueError, match="feature set beef"):
        client.check_served("BTCUSDT", feature_registry_version="1.0.0", feature_set="beef")
    with pytest.raises(NotFound, match="NOSUCH"):
        client.check_served("NOSUCH", feature_registry_version="1.0.0", feature_set="f00d")


def test_freshness_names_each_symbol_that_has_the_view(
    writer: OnlineStore, client: FeatureStoreClient, clock: ManualClock
) -> None:
    put(writer, [1.0, 2.0, 3.0], symbol="BTCUSDT")
    put(writer, [1.0, 2.0, 3.0], symbol="ÉTHUSDT", row_ns=B - 2 * TIME_TO_LIVE // timedelta(microseconds=1) * 1_000)
    fresh = client.get_feature_freshness("orderflow")
    assert {symbol: each.is_stale for symbol, each in fresh.items()} == {"BTCUSDT": False, "ÉTHUSDT": True}
    assert fresh["BTCUSDT"].status == "WARMUP"
    assert fresh["BTCUSDT"].age == timedelta(seconds=1)
    assert client.get_feature_freshness("price", ["BTCUSDT"])["BTCUSDT"].status == "OK"
    with pytest.raises(NotFound, match="nothing"):
        client.get_feature_freshness("nothing")


def test_coverage_is_what_each_symbol_has_now(writer: OnlineStore, client: FeatureStoreClient) -> None:
    put(writer, [1.0, np.nan, 3.0], symbol="BTCUSDT")
    coverage = client.validate_feature_coverage(OURS, entities("BTCUSDT", "NOSUCH"))
    assert coverage.coverage == {"price:mid_price": 0.5, "orderflow:vwap_3s": 0.0, "price:spread_abs": 0.5}
    assert coverage.missing["BTCUSDT", "orderflow:vwap_3s"] == "WARMUP"
    assert coverage.missing["NOSUCH", "price:mid_price"] == "the symbol has no row"
    assert not coverage.is_complete
    assert client.validate_feature_coverage(["price:mid_price"], entities("BTCUSDT")).is_complete


def test_statistics_are_of_the_window_alone(
    writer: OnlineStore, client: FeatureStoreClient, clock: ManualClock
) -> None:
    put(writer, [1.0, np.nan, 3.0])
    assert client.get_retrieval_stats().latency_ms == {}
    client.get_online_features(OURS, entities("BTCUSDT"))
    clock.set(B + 3600 * SECOND_NS)
    client.get_online_features(["price:mid_price"], entities("BTCUSDT", "NOSUCH"))
    assert client.get_retrieval_stats(1).null_rates == {"price:mid_price": 0.5}
    hour = client.get_retrieval_stats(60)
    assert (hour.count, hour.null_rates["orderflow:vwap_3s"]) == (2, 1.0)
    assert hour.null_rates["price:mid_price"] == pytest.approx(1 / 3)
    assert 0 < hour.latency_ms["p50"] <= hour.latency_ms["p95"] <= hour.latency_ms["p99"]


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo", "UTC"])
def test_now_as_python_gives_it_allows_what_is_known_and_nothing_later(
    writer: OnlineStore, repo_path: Path, zone: str
) -> None:
    put(writer, [100.5, 1.0, 0.1])
    program = (
        "import sys\n"
        "from datetime import datetime\n"
        "from feature_client import FeatureStoreClient\n"
        "client = FeatureStoreClient(repo_path=sys.argv[1])\n"
        "rows = [{'symbol': 'BTCUSDT'}]\n"
        "for second in (float(sys.argv[2]) + 1, float(sys.argv[2]) - 1):\n"
        "    moment = datetime.fromtimestamp(second)\n"
        "    try:\n"
        "        found = client.get_online_features(['price:mid_price'], rows, as_of_timestamp=moment)\n"
        "        print(found.to_dict()['mid_price'][0])\n"
        "    except ValueError as error:\n"
        "        print(type(error).__name__)\n"
    )
    arguments = [sys.executable, "-c", program, str(repo_path), str(B // SECOND_NS)]
    finished = subprocess.run(arguments, capture_output=True, text=True, check=False, env=os.environ | {"TZ": zone})
    assert finished.stdout.split() == ["100.5", "LookAheadError"], finished.stderr
