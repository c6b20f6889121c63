"""Live vectors and their history over HTTP, whom they are answered, and what is while Redis or PostgreSQL is away."""

from __future__ import annotations

import dataclasses
import re
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from api.access import OPEN_PATHS
from api.services import ApiServices
from ingestion.pipeline.served_rows import ServedRows
from ingestion.sinks.sinks import online_row
from market.clock import MINUTE_NS, SECOND_NS, format_iso
from runtime.servers import Servers
from runtime.settings import Settings
from storage.database.metadata import Metadata
from storage.features.log import FeatureLog
from storage.online.address import redis_settings
from storage.online.memory import OnlineMemory
from storage.online.store import OnlineStore
from tests.api_service import DURATION_NS, KEY, START_NS, another_app
from tests.ports import free_port
from tests.postgres_servers import run
from training_sets.samples.availability import available_period
from transforms.rows import FeatureRows
from transforms.status import STATUS_NAMES


def test_the_latest_vector_is_the_last_row_served(client: TestClient, newest: dict[str, FeatureRows]) -> None:
    for symbol, rows in newest.items():
        answer = client.get("/features/latest", params={"symbol": symbol, "interval": "1s"})
        assert answer.status_code == 200
        document = answer.json()
        last = dict(zip(rows.feature_set.columns, rows.values[-1].tolist(), strict=True))
        assert document["timestamp"] == format_iso(int(rows.row_ns[-1]))
        assert document["features"] == {name: value for name, value in last.items() if not np.isnan(value)}
        assert set(document["missing"]) == {name for name, value in last.items() if np.isnan(value)}
        assert document["features"]
        assert document["missing"]
        assert document["feature_set"] == rows.feature_set.fingerprint
        assert document["trace_id"] == answer.headers["X-Trace-Id"]


def test_an_unknown_symbol_is_not_found(client: TestClient) -> None:
    answer = client.get("/features/latest?symbol=NOPE", headers={"X-Trace-Id": "abc"})
    assert answer.status_code == 404
    assert answer.json() == {
        "error": "NotFound",
        "message": "symbol: must be one that has sent data, was 'NOPE'; GET /features/overview lists them",
        "trace_id": "abc",
    }


@pytest.mark.parametrize(
    ("asked_for", "told"),
    [
        (
            "/features/latest?symbol=BTCUSDT&intervall=1s",
            "query.intervall: must be one of features, interval, registry_version, symbol, symbols, was given",
        ),
        ("/dataset/list?state=ready", "query.state: must be one of limit, status, symbol, was given"),
        ("/features/list?words=vwap", "query.words: must be left out, this route has no parameters, was given"),
        ("/features/latest?symbol=BTCUSDT&symbol=ETHUSDT", "query.symbol: must be given once, was 2 times"),
    ],
)
def test_an_unknown_or_repeated_query_parameter_is_refused(client: TestClient, asked_for: str, told: str) -> None:
    answer = client.get(asked_for)
    assert (answer.status_code, answer.json()["error"]) == (422, "MalformedRequest")
    assert answer.json()["message"] == told


def test_a_text_that_postgresql_cannot_hold_names_no_view_of_feasts(client: TestClient) -> None:
    answer = client.post("/write-to-online-store", json={"feature_view_name": "\0", "df": {"symbol": ["BTCUSDT"]}})
    assert (answer.status_code, "must be of values PostgreSQL can hold" in answer.json()) == (400, True)


def test_feasts_own_routes_take_what_its_clients_send(client: TestClient) -> None:
    assert client.get("/api/v1/projects?sent_by=a-client").status_code == 200


def test_several_symbols_and_a_choice_of_features_are_one_answer(
    client: TestClient, newest: dict[str, FeatureRows]
) -> None:
    symbols = list(newest)
    query = {"symbols": ",".join([*symbols, "NOPE"]), "features": "vwap_3s,mid_price"}
    answer = client.get("/features/latest", params=query)
    document = answer.json()
    assert [vector["symbol"] for vector in document["vectors"]] == symbols
    assert document["not_found"] == ["NOPE"]
    for vector in document["vectors"]:
        rows = newest[vector["symbol"]]
        last = dict(zip(rows.feature_set.columns, rows.values[-1].tolist(), strict=True))
        assert sorted([*vector["features"], *vector["missing"]]) == ["mid_price", "vwap_3s"]
        assert vector["features"].items() <= last.items()
        assert vector["timestamp"] == format_iso(int(rows.row_ns[-1]))
    one = client.get("/features/latest", params={"symbol": symbols[0], "features": "mid_price"}).json()
    assert [*one["features"], *one["missing"]] == ["mid_price"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("symbol=BTCUSDT&features=mid_price,no_such", "was no_such"),
        ("symbol=BTCUSDT&symbols=ETHUSDT", "symbol, symbols: exactly one of the two must be given"),
        ("", "symbol, symbols: exactly one of the two must be given"),
        ("symbols=,", "symbols: must be names separated by commas, none of them empty, was ','"),
        ("symbols=BTCUSDT,,ETHUSDT", "symbols: must be names separated by commas, none of them empty"),
        ("symbol=BTCUSDT&features=,", "features: must be names separated by commas, none of them empty, was ','"),
        ("symbol=BTCUSDT&features=", "features: must be names separated by commas, none of them empty, was ''"),
        ("symbol=BTCUSDT&features=mid_price, ", "features: must be names separated by commas, none of them empty"),
    ],
)
def test_a_choice_that_there_is_not_is_refused(client: TestClient, query: str, said: str) -> None:
    answer = client.get(f"/features/latest?{query}")
    assert answer.status_code == 400
    assert said in answer.json()["message"]


@pytest.mark.parametrize(("interval", "status"), [("3s", 400), ("15s", 400), ("1m", 400), ("7s", 422), ("", 422)])
def test_only_the_interval_of_a_second_is_kept_online(client: TestClient, interval: str, status: int) -> None:
    answer = client.get("/features/latest", params={"symbol": "BTCUSDT", "interval": interval})
    assert answer.status_code == status
    assert "1s" in answer.json()["message"]


def test_every_route_but_health_metrics_and_the_openapi_page_wants_the_key(services: ApiServices) -> None:
    client = TestClient(another_app(services))
    for method, path in [
        ("GET", "/features/latest?symbol=BTCUSDT"),
        ("GET", "/features/stream?symbol=BTCUSDT"),
        ("GET", "/stats"),
        ("GET", "/stats/storage"),
        ("POST", "/dataset/build"),
        ("GET", "/dataset/list"),
        ("GET", "/dataset/x"),
        ("GET", "/dataset/x/download"),
        ("GET", "/cache/statistics"),
        ("POST", "/model/evaluate"),
    ]:
        assert client.request(method, path).status_code == 401
        assert client.request(method, path, headers={"X-API-Key": KEY + "x"}).status_code == 401
    document = client.get("/openapi.json").json()
    check_openapi(document)
    check_pages(client)
    assert client.get("/health").json()["status"] == "ok"
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert ("security" in operation) == (path not in OPEN_PATHS)


def check_openapi(document: dict[str, Any]) -> None:
    """Operation ids are those that a person would choose, and the errors those that are answered."""
    operations = {found["operationId"]: found for path in document["paths"].values() for found in path.values()}
    assert {"features_latest", "features_stream", "dataset_build", "dataset_show", "evaluate_model"} <= set(operations)
    assert "HTTPValidationError" not in document["components"]["schemas"]
    for name, status in (("features_latest", "404"), ("dataset_build", "422"), ("features_latest", "401")):
        content = operations[name]["responses"][status]["content"]["application/json"]
        assert content["schema"] == {"$ref": "#/components/schemas/ErrorDocument"}
        assert content["example"].keys() == {"error", "message", "trace_id"}


def check_pages(client: TestClient) -> None:
    """The pages have nothing from the internet, and what they have from us is there, without the key."""
    for path in ("/docs", "/redoc"):
        linked = re.findall(r'(?:src|href)="([^"]+)"', client.get(path).text)
        assert linked
        for address in linked:
            assert address.startswith("/docs/assets/")
            assert client.get(address).status_code == 200
    for path in ("/docs/assets/../../features/latest?symbol=BTCUSDT", "/docs/assets/%2e%2e/dataset/list"):
        assert client.get(path).status_code in {401, 404}


def test_a_page_of_another_origin_may_read_where_the_setting_names_it(services: ApiServices) -> None:
    client = TestClient(another_app(services, cors_origins=("https://console.example",)))
    asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "x-api-key"}
    path = "/features/latest?symbol=BTCUSDT"
    allowed = client.options(path, headers={"Origin": "https://console.example", **asked})
    assert allowed.headers["Access-Control-Allow-Origin"] == "https://console.example"
    assert client.options(path, headers={"Origin": "https://other.example", **asked}).status_code == 400
    read = client.get(path, headers={"Origin": "https://console.example", "X-API-Key": KEY})
    assert read.headers["Access-Control-Allow-Origin"] == "https://console.example"


def test_a_stream_opens_by_a_token_that_the_key_gets(services: ApiServices) -> None:
    client = TestClient(another_app(services))
    assert client.post("/features/stream/token").status_code == 401
    token = client.post("/features/stream/token", headers={"X-API-Key": KEY}).json()["token"]
    # An unknown symbol is told behind the door, so the stream need not be read.
    path = "/features/stream?symbol=XUSDT"
    assert client.get(path).status_code == 401
    assert client.get(path, params={"symbol": "XUSDT", "token": token}).status_code == 404


def test_history_is_what_the_log_has_and_what_was_readable_then(
    client: TestClient, newest: dict[str, FeatureRows]
) -> None:
    asked = {"symbol": "BTCUSDT", "features": "mid_price,price:spread_abs", "from": format_iso(START_NS + MINUTE_NS)}
    asked["to"] = format_iso(START_NS + DURATION_NS + MINUTE_NS)
    answer = client.get("/features/history", params=asked)
    assert answer.status_code == 200
    document = answer.json()
    assert list(document["features"]) == ["mid_price", "spread_abs"]
    last = newest["BTCUSDT"]
    assert document["timestamps"][-1] == format_iso(int(last.row_ns[-1]))
    column = last.feature_set.columns.index("mid_price")
    assert document["features"]["mid_price"][-1] == last.values[-1, column]
    assert len(document["timestamps"]) == len(document["available"]) == len(document["features"]["spread_abs"]) > 150
    known = client.get("/features/history", params=asked | {"as_of": format_iso(START_NS + 2 * MINUTE_NS)}).json()
    assert 50 < len(known["timestamps"]) <= 60
    assert max(known["available"]) <= format_iso(START_NS + 2 * MINUTE_NS)


def test_a_history_has_the_status_of_each_group_in_each_row(client: TestClient, newest: dict[str, FeatureRows]) -> None:
    last = newest["BTCUSDT"]
    period = {"from": format_iso(int(last.row_ns[-1])), "to": format_iso(int(last.row_ns[-1]) + SECOND_NS)}
    found = client.get("/features/history", params={"symbol": "BTCUSDT", **period}).json()
    told = [STATUS_NAMES[status] for status in last.status[-1]]
    names = [group.name for group in last.feature_set.groups]
    assert found["statuses"] == {name: [status] for name, status in zip(names, told, strict=True)}
    assert len(set(told)) > 1


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"symbol": "NOSUCH"}, 404),
        ({"features": "nothing"}, 400),
        ({"features": ","}, 400),
        ({"to": format_iso(START_NS)}, 400),
        ({"to": format_iso(START_NS + 100 * 86_400 * SECOND_NS)}, 400),
        ({"registry_version": "0.0.9"}, 404),
    ],
)
def test_a_history_that_cannot_be_had_says_why(
    client: TestClient, newest: dict[str, FeatureRows], changes: dict[str, str], status: int
) -> None:
    asked = {"symbol": "BTCUSDT", "features": "mid_price", "from": format_iso(START_NS), "to": "2026-01-05T12:04"}
    assert client.get("/features/history", params=asked | changes).status_code == status


def test_health_knows_the_newest_row(client: TestClient) -> None:
    document = client.get("/health").json()
    assert document["status"] == "ok"
    assert document["latest_feature_computation_timestamp"].startswith("2026-01-05T12:0")
    assert document["feature_registry_loaded"] is True


def test_health_knows_a_worker_that_cannot_write_the_feature_log(client: TestClient, servers: Servers) -> None:
    status = '{"worker": {"log_is_away": 1.0}}'
    run(servers.postgres_url, f"INSERT INTO ingest_workers VALUES ('w1', now(), now(), '{status}')")  # noqa: S608  # ours
    document = client.get("/health").json()
    run(servers.postgres_url, "TRUNCATE ingest_workers")
    assert document["status"] == "degraded"
    assert document["reasons"]["feature_log"].startswith("feature log: its object store must respond, does not for w1")
    assert client.get("/health").json()["status"] == "ok"


def test_a_worker_that_waits_for_what_was_published_is_not_ready(client: TestClient, servers: Servers) -> None:
    assert client.get("/ready").status_code == 200
    status = '{"worker": {}, "waits_for": "XRPUSDT"}'
    run(servers.postgres_url, f"INSERT INTO ingest_workers VALUES ('w1', now(), now(), '{status}')")  # noqa: S608  # ours
    ready, health = client.get("/ready"), client.get("/health").json()
    run(servers.postgres_url, "TRUNCATE ingest_workers")
    assert ready.status_code == 503
    [missing] = ready.json()["missing"]
    assert missing == health["reasons"]["ingest"]
    assert missing.startswith("ingest: the object store of raw Parquet must answer, does not; waits with XRPUSDT of w1")
    assert client.get("/ready").status_code == 200


def test_redis_away_is_503_with_a_time_to_retry(services: ApiServices) -> None:
    with closing(OnlineStore.connect(redis_settings(f"127.0.0.1:{free_port()}"), project="p")) as away:
        app = another_app(services, online=away)
        client = TestClient(app, headers={"X-API-Key": KEY})
        answer = client.get("/features/latest?symbol=BTCUSDT")
        health = client.get("/health")
    assert answer.status_code == 503
    assert answer.json()["error"] == "StoreUnavailable"
    assert int(answer.headers["Retry-After"]) > 0
    assert health.status_code == 200
    assert health.json()["status"] == "degraded"
    assert health.json()["services"]["online_store"] == "unavailable"
    assert health.json()["services"]["database"] == "ok"


def test_while_redis_is_away_the_ingest_of_the_same_process_answers_from_memory(
    services: ApiServices, newest: dict[str, FeatureRows]
) -> None:
    memory = OnlineMemory()
    rows = newest["BTCUSDT"]
    memory.keep([online_row(ServedRows(rows, rows.row_ns))])
    with closing(OnlineStore.connect(redis_settings(f"127.0.0.1:{free_port()}"), project="p")) as away:
        away_services = dataclasses.replace(services, online=away, memory=memory)
        client = TestClient(another_app(away_services), headers={"X-API-Key": KEY})
        remembered = client.get("/features/latest?symbol=BTCUSDT")
        unknown = client.get("/features/latest?symbol=ETHUSDT")
    stored = TestClient(another_app(services), headers={"X-API-Key": KEY}).get("/features/latest?symbol=BTCUSDT")
    assert remembered.status_code == 200
    own = {"trace_id", "age_ms"}
    assert {k: v for k, v in remembered.json().items() if k not in own} == {
        k: v for k, v in stored.json().items() if k not in own
    }
    assert remembered.json()["age_ms"] > 0
    assert unknown.status_code == 503


def test_postgres_away_is_503_and_live_features_are_still_served(services: ApiServices) -> None:
    with closing(Metadata(f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/none")) as away:
        client = TestClient(another_app(services, metadata=away), headers={"X-API-Key": KEY})
        assert client.get("/dataset/list").status_code == 503
        assert client.get("/features/latest?symbol=BTCUSDT").status_code == 200
        assert client.get("/health").json()["database_connected"] is False


def test_the_available_period_is_that_of_the_feature_log(settings: Settings, newest: dict[str, FeatureRows]) -> None:
    last_ns = int(newest["BTCUSDT"].row_ns[-1])
    assert available_period(FeatureLog(settings.feature_log_storage_path), "BTCUSDT") == (START_NS + SECOND_NS, last_ns)
    assert available_period(FeatureLog(settings.feature_log_storage_path), "SOLUSDT") is None
