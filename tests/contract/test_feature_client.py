"""The client on a real Redis and a real repository: nothing from after the time asked for, and a reason for all."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, String

from feature_client import FeatureStoreClient, HistoricalFeatures, LookAheadError, ServedDifferently, feature_matrix
from feature_client.historical import pit_report
from feature_repo import definitions
from feature_repo.freshness import TIME_TO_LIVE
from feature_repo.store import GUARD, GUARD_NAME
from market.clock import MILLISECOND_NS, SECOND_NS, ManualClock, to_datetime
from market.errors import InvalidRequest, NotFound, StoreUnavailable
from storage.online.address import redis_settings
from storage.online.store import OnlineStore
from storage.online.vector import OnlineRow
from tests.redis_servers import HOST, PORT, own_project
from transforms.rows import FeatureGroup, FeatureSet
from transforms.status import OK, WARMUP

B = 1_772_000_000 * SECOND_NS
SET = FeatureSet(
    "1.0.0",
    ("mid_price", "vwap_3s", "spread_abs"),
    (
        FeatureGroup("price", "p", ("mid_price", "spread_abs"), (0, 2)),
        FeatureGroup("orderflow", "o", ("vwap_3s",), (1,)),
    ),
    "f00d",
)
REFERENCES = ["price:mid_price", "orderflow:vwap_3s", "price:spread_abs"]


@pytest.fixture
def project() -> Iterator[str]:
    with own_project("client") as name:
        yield name


@pytest.fixture
def writer(project: str) -> Iterator[OnlineStore]:
    store = OnlineStore.connect(redis_settings(f"{HOST}:{PORT}"), project=project)
    yield store
    store.close()


@pytest.fixture
def repo_path(tmp_path: Path, project: str) -> Path:
    config = {
        "project": project,
        "provider": "local",
        "registry": str(tmp_path / "registry.db"),
        "online_store": {"type": "redis", "connection_string": f"{HOST}:{PORT},db=0"},
        "offline_store": {"type": "feature_repo.offline_store.AsOfOfflineStore", "bitemporal": False},
        "entity_key_serialization_version": 3,
    }
    (tmp_path / "feature_store.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(B + SECOND_NS)


@pytest.fixture
def client(repo_path: Path, clock: ManualClock) -> Iterator[FeatureStoreClient]:
    client = FeatureStoreClient(repo_path, clock=clock)
    yield client
    client.close()


def put(store: OnlineStore, values: Sequence[float], *, symbol: str = "BTCUSDT", row_ns: int = B) -> None:
    known = np.array(values, np.float64)
    reasons = {name: "WARMUP" for name, value in zip(SET.columns, values, strict=True) if np.isnan(value)}
    status = np.array([OK, WARMUP], np.int8)
    row = OnlineRow(symbol, SET, row_ns, row_ns + 20 * MILLISECOND_NS, known, status, reasons)
    assert store.write([row], now_ns=row_ns).written == 1


def entities(*symbols: str) -> list[dict[str, str]]:
    return [{"symbol": symbol} for symbol in symbols]


# Online


def test_values_come_in_the_order_asked_with_what_is_not_known_and_why(
    writer: OnlineStore, client: FeatureStoreClient
) -> None:
    put(writer, [100.5, np.nan, 0.1])
    found = client.get_online_features(REFERENCES, entities("BTCUSDT", "NOSUCH"))
    assert found.to_dict() == {
        "symbol": ["BTCUSDT", "NOSUCH"],
        "mid_price": [100.5, None],
        "vwap_3s": [None, None],
        "spread_abs": [0.1, None],
    }
    known, unknown = found.features
    assert [known[name].status for name in REFERENCES] == ["PRESENT", "MISSING", "PRESENT"]
    assert known["orderflow:vwap_3s"].reason == "WARMUP"
    assert known["price:mid_price"].age == timedelta(seconds=1)
    assert {feature.status for feature in unknown.values()} == {"UNKNOWN_ENTITY"}


def test_a_value_older_than_its_view_may_be_is_stale_and_told_apart_from_missing(
    writer: OnlineStore, repo_path: Path, clock: ManualClock
) -> None:
    put(writer, [100.5, 1.0, np.nan])
    client = FeatureStoreClient(repo_path, clock=clock, fresh_for={"price": timedelta(seconds=5)})
    clock.set(B + 5 * SECOND_NS)
    [row] = client.get_online_features(REFERENCES, entities("BTCUSDT")).features
    assert row["price:mid_price"].status == "PRESENT"
    clock.set(B + 5 * SECOND_NS + 1_000)
    [row] = client.get_online_features(REFERENCES, entities("BTCUSDT")).features
    assert [row[name].status for name in REFERENCES] == ["STALE", "PRESENT", "MISSING"]
    assert row["price:mid_price"].value == 100.5
    client.close()


def test_a_value_from_after_the_time_asked_for_is_an_error_with_its_name_and_times(
    writer: OnlineStore, client: FeatureStoreClient
) -> None:
    put(writer, [100.5, 1.0, 0.1])
    available = to_datetime(B + 20 * MILLISECOND_NS)
    at_once = client.get_online_features(REFERENCES, entities("BTCUSDT"), as_of_timestamp=available)
    assert at_once.to_dict()["mid_price"] == [100.5]
    for moment in (
        available - timedelta(microseconds=1),
        to_datetime(B),
        to_datetime(B - 1).astimezone().replace(tzinfo=None),
    ):
        with pytest.raises(ValueError, match=r"price:mid_price, .* of BTCUSDT: must be known at .* available at"):
            client.get_online_features(REFERENCES, entities("BTCUSDT"), as_of_timestamp=moment)
    assert issubclass(LookAheadError, InvalidRequest)
    assert client.get_retrieval_stats().pit_violations == 3


def test_a_row_of_later_than_the_time_asked_for_is_refused_whenever_it_was_written(
    writer: OnlineStore, client: FeatureStoreClient
) -> None:
    values, status = np.array([100.5, 1.0, 0.1]), np.array([OK, OK], np.int8)
    writer.write([OnlineRow("BTCUSDT", SET, B, B - 900 * MILLISECOND_NS, values, status, {})], now_ns=B)
    with pytest.raises(LookAheadError, match="must be known at"):
        client.get_online_features(REFERENCES, entities("BTCUSDT"), as_of_timestamp=to_datetime(B - 1_000))
    at_once = client.get_online_features(REFERENCES, entities("BTCUSDT"), as_of_timestamp=to_datetime(B))
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
        client.get_online_features(REFERENCES, [{"ticker": "BTCUSDT"}])


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
    coverage = client.validate_feature_coverage(REFERENCES, entities("BTCUSDT", "NOSUCH"))
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
    client.get_online_features(REFERENCES, entities("BTCUSDT"))
    clock.set(B + 3600 * SECOND_NS)
    client.get_online_features(["price:mid_price"], entities("BTCUSDT", "NOSUCH"))
    assert client.get_retrieval_stats(1).null_rates == {"price:mid_price": 0.5}
    hour = client.get_retrieval_stats(60)
    assert (hour.count, hour.null_rates["orderflow:vwap_3s"]) == (2, 1.0)
    assert hour.null_rates["price:mid_price"] == pytest.approx(1 / 3)
    assert 0 < hour.latency_ms["p50"] <= hour.latency_ms["p95"] <= hour.latency_ms["p99"]


# Views of others


class Fees:
    """Two views that somebody else defined and materialized: by symbol, and by venue."""

    def __init__(self, repo_path: Path) -> None:
        venue, symbol = (Entity(name=name, value_type=ValueType.STRING) for name in ("venue", "symbol"))
        source = FileSource(name="fees", path=str(repo_path / "fees.parquet"), timestamp_field="event_timestamp")
        by_symbol = FeatureView(
            name="fees",
            entities=[symbol],
            schema=[Field(name="maker", dtype=Float64), Field(name="tier", dtype=String)],
            source=source,
            ttl=timedelta(minutes=5),
        )
        by_venue = FeatureView(
            name="venues", entities=[venue], schema=[Field(name="country", dtype=String)], source=source
        )
        (repo_path / GUARD_NAME).unlink(missing_ok=True)
        self.store = FeatureStore(str(repo_path))
        self.store.apply([venue, symbol, by_symbol, by_venue])

    def write(self, view: str, **columns: object) -> None:
        self.store.write_to_online_store(view, pd.DataFrame({name: [value] for name, value in columns.items()}))


@pytest.fixture
def fees(repo_path: Path) -> Fees:
    return Fees(repo_path)


def test_views_of_others_are_read_beside_ours_by_their_own_keys(
    writer: OnlineStore, client: FeatureStoreClient, fees: Fees
) -> None:
    put(writer, [1.5, 2.5, 3.5])
    fees.write("fees", symbol="BTCUSDT", maker=0.25, tier=None, event_timestamp=to_datetime(B - SECOND_NS))
    fees.write("venues", venue="bybit", country="SG", event_timestamp=to_datetime(B))
    references = ["fees:maker", "price:mid_price", "venues:country", "fees:tier"]
    rows = [{"symbol": "BTCUSDT", "venue": "bybit"}, {"symbol": "NOSUCH", "venue": "moon"}]
    found = client.get_online_features(references, rows)
    assert found.to_dict() == {
        "symbol": ["BTCUSDT", "NOSUCH"],
        "venue": ["bybit", "moon"],
        "maker": [0.25, None],
        "mid_price": [1.5, None],
        "country": ["SG", None],
        "tier": [None, None],
    }
    known, unknown = found.features
    assert known["fees:maker"] == (0.25, "PRESENT", None, timedelta(seconds=2))
    assert known["fees:tier"] == (None, "MISSING", "null in the newest row", timedelta(seconds=2))
    assert {feature.status for feature in unknown.values()} == {"UNKNOWN_ENTITY"}
    # A row of another entity alone needs no symbol.
    [only] = client.get_online_features(["venues:country"], [{"venue": "bybit"}]).features
    assert only["venues:country"].value == "SG"
    coverage = client.validate_feature_coverage(["venues:country"], [{"venue": "bybit"}, {"venue": "moon"}])
    assert coverage.coverage == {"venues:country": 0.5}
    assert coverage.missing == {("venue=moon", "venues:country"): "the entity has no row"}


def test_views_of_others_have_their_time_to_live_and_are_not_read_ahead(
    client: FeatureStoreClient, clock: ManualClock, fees: Fees
) -> None:
    fees.write("fees", symbol="BTCUSDT", maker=0.25, tier="a", event_timestamp=to_datetime(B))
    with pytest.raises(LookAheadError, match=r"fees:maker of .*BTCUSDT.*: must be known at as_of_timestamp"):
        client.get_online_features(["fees:maker"], entities("BTCUSDT"), as_of_timestamp=to_datetime(B - SECOND_NS))
    assert not client.get_feature_freshness("fees", ["BTCUSDT"])["BTCUSDT"].is_stale
    clock.set(B + 301 * SECOND_NS)
    [found] = client.get_online_features(["fees:maker"], entities("BTCUSDT")).features
    assert (found["fees:maker"].value, found["fees:maker"].status) == (0.25, "STALE")
    fresh = client.get_feature_freshness("fees")
    assert {symbol: each.is_stale for symbol, each in fresh.items()} == {"BTCUSDT": True}


@pytest.mark.parametrize(
    ("references", "row", "said"),
    [
        (["fees:taker"], {"symbol": "BTCUSDT"}, "fees:taker"),
        (["nothing:maker"], {"symbol": "BTCUSDT"}, "nothing:maker"),
        (["venues:country"], {"symbol": "BTCUSDT"}, "entity_rows: must have venue, a key of venues, was"),
        (["fees:maker", "price:mid_price"], {"venue": "bybit"}, "entity_rows: must hold .*symbol"),
    ],
)
@pytest.mark.usefixtures("fees")
def test_what_a_view_of_others_has_not_is_refused_by_name(
    client: FeatureStoreClient, references: list[str], row: dict[str, str], said: str
) -> None:
    with pytest.raises(InvalidRequest, match=said):
        client.get_online_features(references, [row])


# Historical


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


def test_the_report_counts_values_from_the_future() -> None:
    times = pa.timestamp("ns", "UTC")
    provenance = pa.table(
        {
            "asked": pa.array([10, 10, 10, 10], times),
            "v__event": pa.array([11, 10, 5, None], times),
            "v__created": pa.array([None, 12, 10, None], times),
        }
    )
    report = pit_report(provenance)
    assert not report.is_proven
    evidence = report.views["v"]
    assert (evidence.found, evidence.violations) == (3, 2)
    assert (evidence.latest_event_lead_ns, evidence.latest_created_lead_ns) == (1, 2)


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


def test_the_folder_of_definitions_finds_the_repository_beside_it(writer: OnlineStore, repo_path: Path) -> None:
    put(writer, [100.5, 1.0, 0.1])
    (repo_path / "feature_repo").mkdir()
    client = FeatureStoreClient(repo_path=repo_path / "feature_repo")
    assert client.get_online_features(["price:mid_price"], entities("BTCUSDT")).to_dict()["mid_price"] == [100.5]
    client.close()


def test_an_offline_store_that_cannot_prove_it_is_refused(repo_path: Path, history: None) -> None:
    path = repo_path / "feature_store.yaml"
    config = yaml.safe_load(path.read_text())
    del config["offline_store"]
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(InvalidRequest, match=r"must be feature_repo\.offline_store\.AsOfOfflineStore"):
        FeatureStoreClient(repo_path).get_historical_features(asked_at(1), ["price:mid_price"])


# Starting


def test_an_online_read_loads_neither_feast_nor_a_compiler_nor_a_server(writer: OnlineStore, repo_path: Path) -> None:
    put(writer, [100.5, 1.0, 0.1])
    program = (
        "import sys\n"
        "from feature_client import FeatureStoreClient\n"
        "client = FeatureStoreClient(sys.argv[1])\n"
        "found = client.get_online_features(['price:mid_price'], [{'symbol': 'BTCUSDT'}])\n"
        "print(found.to_dict()['mid_price'][0])\n"
        "heavy = {'numba', 'great_expectations', 'fastapi', 'feast', 'pandas', 'pyarrow'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program, str(repo_path)], capture_output=True, text=True, check=False
    )
    assert finished.stdout.split("\n")[:2] == ["100.5", "[]"], finished.stderr


def test_a_folder_without_a_repository_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=str(tmp_path)):
        FeatureStoreClient(tmp_path)
    (tmp_path / "feature_store.yaml").write_text("project: p\nonline_store: {type: sqlite}\n")
    with pytest.raises(InvalidRequest, match="sqlite"):
        FeatureStoreClient(tmp_path)


def test_a_server_that_is_away_is_named(tmp_path: Path) -> None:
    (tmp_path / "feature_store.yaml").write_text(
        'project: p\nonline_store: {type: redis, connection_string: "127.0.0.1:1,socket_timeout=0.1"}\n'
    )
    with pytest.raises(StoreUnavailable, match=r"redis 127\.0\.0\.1:1"):
        FeatureStoreClient(tmp_path).get_online_features(REFERENCES, entities("BTCUSDT"))


def test_rows_are_fresh_for_the_ttl_of_the_views() -> None:
    assert isinstance(definitions.price, FeatureView)
    assert definitions.price.ttl == TIME_TO_LIVE


# Orders and yamls


def test_any_answer_becomes_the_rows_that_a_model_takes_in_its_own_order() -> None:
    columns = ["mid_price", "vwap_3s"]
    for answer in (
        {"vwap_3s": [1.0, None], "symbol": ["A", "B"], "mid_price": [100.0, 200]},
        {"orderflow__vwap_3s": [1.0, None], "symbol": ["A", "B"], "price__mid_price": [100.0, 200]},
        {"orderflow:vwap_3s": [1.0, None], "price:mid_price": [100.0, 200]},
        pd.DataFrame({"vwap_3s": [1.0, None], "mid_price": [100.0, 200]}),
    ):
        matrix = feature_matrix(answer, columns)  # type: ignore[arg-type]  # a frame has columns by name as well
        np.testing.assert_array_equal(matrix, [[100.0, 1.0], [200.0, np.nan]])
    with pytest.raises(InvalidRequest, match="spread_abs: must be in the answer once"):
        feature_matrix({"mid_price": [1.0]}, ["spread_abs"])
    with pytest.raises(InvalidRequest, match="x: must be in the answer once"):
        feature_matrix({"a__x": [1.0], "b__x": [1.0]}, ["x"])


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


def test_feast_apply_is_refused_in_a_folder_that_only_reads(repo_path: Path) -> None:
    (repo_path / GUARD_NAME).write_text(GUARD)
    (repo_path / "mine.py").write_text("from feast import Entity\nmine = Entity(name='mine')\n")
    command = [str(Path(sys.executable).with_name("feast")), "apply"]
    finished = subprocess.run(command, cwd=repo_path, capture_output=True, text=True, check=False)
    assert finished.returncode != 0
    assert "must be run where the definitions are" in finished.stderr
    assert not (repo_path / "registry.db").exists()
    # It is no module of the repository to who reads.
    assert FeatureStore(repo_path=str(repo_path)).list_entities() == []
