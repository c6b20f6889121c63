"""Feast's feature server by our API: the same answers as Feast's own on the same data, and its clients read us."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uvicorn
from fastapi.testclient import TestClient
from feast import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    PushSource,
    RepoConfig,
    ValueType,
)
from feast.feature_server import get_app
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Float64, Int64, String
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.app import create_app
from api.services import ApiServices
from backfill.jobs import BackfillJobs
from feature_repo.serving import FeatureServing
from market.clock import MILLISECOND_NS, SECOND_NS, ManualClock, to_datetime
from market.errors import StoreUnavailable
from registry.life_cycle import RegistryLifeCycle
from storage.database.metadata import Metadata
from storage.database.quality_reports import QualityReports
from storage.features.log import FeatureLog
from storage.online.address import redis_settings
from storage.online.feed import RowFeed
from storage.online.store import OnlineStore
from storage.online.vector import OnlineRow
from storage.raw.raw_data import RawData
from tests.conftest import missing
from tests.redis_servers import HOST, PORT, own_project
from training_sets.builds.builds import DatasetBuilds
from training_sets.dataset.datasets import Datasets
from transforms.rows import FeatureGroup, FeatureSet

KEY = "serving-key"
ROOT = Path(__file__).parents[2]
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
OURS = ["price:mid_price", "orderflow:vwap_3s", "price:spread_abs"]
SYMBOL = Entity(name="symbol", join_keys=["symbol"], value_type=ValueType.STRING)
DRIVER = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
CITY = Entity(name="city", join_keys=["city"], value_type=ValueType.STRING)


def source_of(name: str, folder: Path) -> FileSource:
    return FileSource(name=f"{name}_file", path=str(folder / f"{name}.parquet"), timestamp_field="event_timestamp")


def objects(folder: Path) -> list[Any]:
    """Two views of ours, two of others with keys of their own, a service, and a feature that Feast computes."""
    price, orderflow = (
        FeatureView(
            name=group.name,
            entities=[SYMBOL],
            ttl=timedelta(minutes=1),
            schema=[Field(name=name, dtype=Float64) for name in group.columns],
            source=PushSource(name="market", batch_source=source_of(group.name, folder)),
            tags={"fingerprint": group.fingerprint},
        )
        for group in SET.groups
    )
    stats = FeatureView(
        name="stats",
        entities=[DRIVER, CITY],
        ttl=timedelta(hours=1),
        schema=[
            Field(name="trips", dtype=Int64),
            Field(name="rate", dtype=Float64),
            Field(name="plate", dtype=String),
            Field(name="last", dtype=Array(Int64)),
        ],
        source=PushSource(name="drives", batch_source=source_of("stats", folder)),
    )
    sector = FeatureView(
        name="sector",
        entities=[SYMBOL],
        ttl=timedelta(0),
        schema=[Field(name="beta", dtype=Float64)],
        source=source_of("sector", folder),
    )

    @on_demand_feature_view(sources=[sector], schema=[Field(name="double_beta", dtype=Float64)], mode="python")  # type: ignore[untyped-decorator]  # untyped in Feast
    def doubled(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"double_beta": [None if beta is None else 2 * beta for beta in inputs["beta"]]}

    service = FeatureService(name="model", features=[price, sector])
    return [SYMBOL, DRIVER, CITY, price, orderflow, stats, sector, doubled, service]


@dataclass(frozen=True)
class Served:
    """One repository on one Redis: our API and Feast's own server on it."""

    store: FeatureStore
    online: OnlineStore
    ours: TestClient
    feasts: TestClient
    clock: ManualClock
    app: Any

    def put(self, symbol: str, values: Sequence[float | None], *, row_ns: int = B) -> None:
        known = np.array([np.nan if value is None else value for value in values], np.float64)
        reasons = {name: "WARMUP" for name, value in zip(SET.columns, known, strict=True) if np.isnan(value)}
        row = OnlineRow(symbol, SET, row_ns, row_ns + 20 * MILLISECOND_NS, known, np.zeros(2, np.int8), reasons)
        self.online.write([row], now_ns=row_ns)

    def ask(self, **request: object) -> dict[str, Any]:
        answer = self.ours.post("/get-online-features", json=request)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("serving")
    with own_project("serving") as project:
        config = RepoConfig(
            project=project,
            provider="local",
            registry=str(folder / "registry.db"),
            online_store={"type": "redis", "connection_string": f"{HOST}:{PORT},db=0"},
            offline_store={"type": "feature_repo.offline_store.AsOfOfflineStore"},
            entity_key_serialization_version=3,
            repo_path=folder,
        )
        store = FeatureStore(config=config)
        with pytest.warns(RuntimeWarning, match="experimental"):  # of features that Feast computes
            store.apply(objects(folder))
        address = redis_settings(f"{HOST}:{PORT}")
        clock = ManualClock(B + SECOND_NS)
        with (
            closing(OnlineStore.connect(address, project=project)) as online,
            closing(FeatureServing(lambda: FeatureStore(config=config), now_s=lambda: 0.0)) as serving,
        ):
            services = ApiServices(
                online=online,
                metadata=cast("Metadata", None),
                builds=cast("DatasetBuilds", None),
                backfills=cast("BackfillJobs", None),
                quality_reports=cast("QualityReports", None),
                feed=RowFeed.connect(address, project=project),
                clock=clock,
                api_key=KEY,
                make_trace_id=lambda: "t",
                symbols=("BTCUSDT",),
                raw=RawData(folder),
                versions_folder=folder,
                features=FeatureLog(folder),
                datasets=Datasets(folder),
                life_cycle=cast("RegistryLifeCycle", None),
                feature_server=serving,
            )
            app = create_app(services)
            with (
                TestClient(app, headers={"Authorization": f"Bearer {KEY}"}) as ours,
                TestClient(get_app(store, registry_ttl_sec=0)) as feasts,
            ):
                yield Served(store, online, ours, feasts, clock, app)


def column(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = document["results"][document["metadata"]["feature_names"].index(name)]
    return found


# Answers


def test_an_answer_has_the_keys_first_then_the_features_in_the_order_asked(served: Served) -> None:
    served.put("A", [100.0, None, 0.5], row_ns=B + 123_400_000)
    document = served.ask(entities={"symbol": ["A", "NOSUCH"]}, features=OURS)
    assert document["metadata"] == {"feature_names": ["symbol", "mid_price", "vwap_3s", "spread_abs"]}
    assert column(document, "symbol") == {
        "values": ["A", "NOSUCH"],
        "statuses": ["PRESENT"] * 2,
        "event_timestamps": ["1970-01-01T00:00:00Z"] * 2,
    }
    when = to_datetime(B).strftime("%Y-%m-%dT%H:%M:%S.123400Z")
    assert column(document, "mid_price") == {
        "values": [100.0, None],
        "statuses": ["PRESENT", "NOT_FOUND"],
        "event_timestamps": [when, "1970-01-01T00:00:00Z"],
    }
    assert column(document, "vwap_3s")["statuses"] == ["NULL_VALUE", "NOT_FOUND"]
    named = served.ask(
        entities={"symbol": ["A"]},
        features=OURS[:1],
        full_feature_names=True,
        include_feature_view_version_metadata=True,
    )
    assert named["metadata"] == {
        "feature_names": ["symbol", "price__mid_price"],
        "feature_view_metadata": [{"name": "price"}],
    }
    text = served.ours.post("/get-online-features", json={"entities": {"symbol": ["A"]}, "features": OURS[:1]}).text
    assert "[100.0]" in text


def test_a_value_older_than_its_view_allows_is_not_given_where_feast_calls_it_present(served: Served) -> None:
    request = {"entities": {"symbol": ["OLD", "JUST"]}, "features": OURS[:1]}
    served.put("OLD", [1.0, 2.0, 3.0], row_ns=B + SECOND_NS - 60 * SECOND_NS - 1000)
    served.put("JUST", [1.0, 2.0, 3.0], row_ns=B + SECOND_NS - 60 * SECOND_NS)
    theirs = served.feasts.post("/get-online-features", json=request).json()
    assert column(theirs, "mid_price")["statuses"] == ["PRESENT", "PRESENT"]
    ours = column(served.ask(**request), "mid_price")
    assert (ours["values"], ours["statuses"]) == ([None, 1.0], ["OUTSIDE_MAX_AGE", "PRESENT"])
    assert ours["event_timestamps"] == column(theirs, "mid_price")["event_timestamps"]


VALUES = st.none() | st.floats(allow_nan=False, allow_infinity=False)
ROWS = st.lists(
    st.tuples(st.sampled_from(["A", "B", "C"]), st.tuples(VALUES, VALUES, VALUES), st.integers(-90, 1)), max_size=6
)
ASKED = st.lists(st.sampled_from(["A", "B", "C", "D"]), min_size=1, max_size=8)
REFERENCES = st.lists(st.sampled_from([*OURS, "sector:beta"]), min_size=1, max_size=4, unique=True)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, asked=ASKED, references=REFERENCES, betas=st.dictionaries(st.sampled_from("ABCD"), VALUES))
def test_the_answer_is_feasts_own_but_for_truer_statuses(
    served: Served, rows: list[Any], asked: list[str], references: list[str], betas: dict[str, float | None]
) -> None:
    for name in "ABCD":
        served.online._client.delete(served.online.key(name))
    for symbol, values, second in rows:
        served.put(symbol, values, row_ns=B + second * SECOND_NS)
    if known := {symbol: beta for symbol, beta in betas.items() if beta is not None}:
        frame = pd.DataFrame({"symbol": list(known), "beta": list(known.values()), "event_timestamp": to_datetime(B)})
        served.store.write_to_online_store("sector", frame)
    request = {"entities": {"symbol": asked}, "features": references}
    theirs = served.feasts.post("/get-online-features", json=request).json()
    ours = served.ask(**request)
    assert sorted(ours["metadata"]["feature_names"]) == sorted(theirs["metadata"]["feature_names"])
    assert ours["metadata"]["feature_names"] == ["symbol", *(each.partition(":")[2] for each in references)]
    for name in ours["metadata"]["feature_names"]:
        mine, his = column(ours, name), column(theirs, name)
        assert mine["event_timestamps"] == his["event_timestamps"]
        for value, status, feasts, when in zip(
            mine["values"], mine["statuses"], his["values"], his["event_timestamps"], strict=True
        ):
            if status == "PRESENT":
                assert value == feasts
            else:
                assert value is None
                is_old = name != "beta" and datetime.fromisoformat(when) < to_datetime(B - 59 * SECOND_NS)
                is_there = when != "1970-01-01T00:00:00Z"
                expected = "NOT_FOUND" if not is_there else "OUTSIDE_MAX_AGE" if is_old else "NULL_VALUE"
                assert status == expected
                assert feasts is None or status == "OUTSIDE_MAX_AGE"


def test_views_of_ours_that_read_other_keys_answer_each_for_its_own(served: Served) -> None:
    price, orderflow = (served.store.get_feature_view(name) for name in ("price", "orderflow"))
    pair = FeatureService(
        name="pair",
        features=[price.with_join_key_map({"symbol": "base"}), orderflow.with_join_key_map({"symbol": "quote"})],
    )
    served.store.apply(pair)
    served.put("PA", [1.0, 2.0, 3.0])
    served.put("PB", [4.0, 5.0, 6.0])
    request = {"entities": {"base": ["PA", "PB"], "quote": ["PB", "NONE"]}, "feature_service": "pair"}
    ours, theirs = served.ask(**request), served.feasts.post("/get-online-features", json=request).json()
    assert [column(ours, name)["values"] for name in ("mid_price", "vwap_3s")] == [[1.0, 4.0], [5.0, None]]
    for name in ("mid_price", "spread_abs", "vwap_3s"):
        assert column(ours, name)["values"] == column(theirs, name)["values"]


def test_views_of_others_with_keys_and_types_of_their_own_are_pushed_and_served_beside_ours(served: Served) -> None:
    when = to_datetime(B)
    rows = {
        "driver_id": [7, 8],
        "city": ["Rome", "Oslo"],
        "trips": [3, None],
        "rate": [0.5, 1.0],
        "plate": ["x", "y"],
        "last": [[1, 2], [3]],
        "event_timestamp": [when.isoformat(), when.replace(tzinfo=None).isoformat()],
    }
    pushed = served.ours.post("/push", json={"push_source_name": "drives", "df": rows, "to": "online"})
    assert (pushed.status_code, pushed.json()) == (200, None)
    served.put("A", [100.0, 1.0, 0.5])
    request = {
        "entities": {"driver_id": [7, 8, 9], "city": ["Rome", "Oslo", "Rome"], "symbol": ["A", "A", "A"]},
        "features": ["stats:trips", "price:mid_price", "stats:rate", "stats:plate", "stats:last"],
    }
    ours, theirs = served.ask(**request), served.feasts.post("/get-online-features", json=request).json()
    for name in ("trips", "rate", "plate", "last", "mid_price"):
        assert column(ours, name)["values"] == column(theirs, name)["values"]
    assert column(ours, "trips")["values"] == [3, None, None]
    assert column(ours, "trips")["statuses"] == ["PRESENT", "NULL_VALUE", "NOT_FOUND"]


def test_a_view_that_was_materialized_since_its_rows_were_pushed_answers_with_what_is_newer(served: Served) -> None:
    served.put("M", [1.0, 2.0, 3.0], row_ns=B - 10 * SECOND_NS)
    frame = pd.DataFrame(
        {"symbol": ["M", "N"], "mid_price": [5.0, 6.0], "spread_abs": [7.0, 8.0], "event_timestamp": to_datetime(B)}
    )
    served.store.write_to_online_store("price", frame)  # as `feast materialize` writes
    document = served.ask(entities={"symbol": ["M", "N"]}, features=OURS)
    assert [column(document, name)["values"] for name in ("mid_price", "vwap_3s")] == [[5.0, 6.0], [2.0, None]]
    assert column(document, "vwap_3s")["statuses"] == ["PRESENT", "NOT_FOUND"]


def test_what_feast_computes_is_served_with_truthful_statuses(served: Served) -> None:
    frame = pd.DataFrame({"symbol": ["ODFV"], "beta": [1.5], "event_timestamp": to_datetime(B)})
    served.store.write_to_online_store("sector", frame)
    document = served.ask(entities={"symbol": ["ODFV", "NONE"]}, features=["sector:beta", "doubled:double_beta"])
    assert column(document, "double_beta")["values"] == [3.0, None]
    assert column(document, "beta")["statuses"] == ["PRESENT", "NOT_FOUND"]


def test_a_feature_service_is_served_by_its_name_and_a_batch_is_one_round_trip(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in range(200):
        served.put(f"S{at}", [float(at), 1.0, 0.5])
    asked: list[int] = []
    read = served.online.fields

    def counted(each: Sequence[tuple[bytes, Sequence[bytes]]]) -> list[list[bytes | None]]:
        asked.append(len(each))
        return read(each)

    monkeypatch.setattr(served.online, "fields", counted)
    for count in (1, 20, 200):
        asked.clear()
        document = served.ask(entities={"symbol": [f"S{at}" for at in range(count)]}, feature_service="model")
        assert column(document, "mid_price")["values"] == [float(at) for at in range(count)]
        assert len(asked) == 1


# Refusals


@pytest.mark.parametrize(
    ("path", "request_", "status", "name", "message"),
    [
        (
            "/get-online-features",
            {"entities": {"symbol": ["A"]}, "features": ["nosuch:x"]},
            404,
            "FeatureViewNotFoundException",
            "nosuch",
        ),
        (
            "/get-online-features",
            {"entities": {"symbol": ["A"]}, "features": ["price:mid_price", "price:mid_price"]},
            400,
            "FeatureNameCollisionError",
            "mid_price",
        ),
        ("/get-online-features", {"entities": {"symbol": ["A"]}, "features": ["price:nosuch"]}, 400, None, "nosuch"),
        (
            "/get-online-features",
            {"entities": {"symbol": ["A"]}},
            400,
            "FeastError",
            "exactly one of the two must be given",
        ),
        ("/get-online-features", {"entities": {"symbol": [1]}, "features": OURS}, 400, "FeastError", "must be texts"),
        (
            "/get-online-features",
            {"entities": {"driver_id": [7]}, "features": ["stats:trips"]},
            400,
            "FeastError",
            "entities: must have city",
        ),
        ("/get-online-features", {"features": OURS}, 422, "FeastError", "body.entities"),
        (
            "/push",
            {"push_source_name": "market", "df": {"symbol": ["A"]}},
            400,
            "FeastError",
            "only ingest may write them",
        ),
        (
            "/push",
            {"push_source_name": "nosuch", "df": {"symbol": ["A"]}},
            404,
            "PushSourceNotFoundException",
            "nosuch",
        ),
        (
            "/push",
            {"push_source_name": "drives", "df": {"driver_id": [7]}},
            400,
            "FeastError",
            "df: must have the columns of stats, was without city",
        ),
        (
            "/write-to-online-store",
            {
                "feature_view_name": "sector",
                "df": {"symbol": ["A"], "beta": [1.0], "event_timestamp": ["2099-01-01T00:00:00"]},
            },
            400,
            "FeastError",
            "must not be in the future",
        ),
        ("/materialize-incremental", {"end_ts": "soon"}, 400, "FeastError", "end_ts: must be an ISO time"),
        (
            "/materialize",
            {"start_ts": "2026-01-01", "end_ts": "2026-01-02", "feature_views": ["price"]},
            400,
            "FeastError",
            "only ingest may write them",
        ),
    ],
)
def test_a_request_that_does_not_fit_is_refused_as_feasts_clients_read_it(
    served: Served, path: str, request_: dict[str, Any], status: int, name: str | None, message: str
) -> None:
    answer = served.ours.post(path, json=request_)
    assert answer.status_code == status, answer.text
    detail = json.loads(answer.json())
    assert name is None or detail["class"] == name
    assert message in detail["message"]


def test_every_route_wants_the_key_as_ours_or_as_feasts_clients_send_it(served: Served) -> None:
    body = {"entities": {"symbol": ["A"]}, "features": OURS}
    with TestClient(served.app) as client:
        for headers, status in (
            ({}, 401),
            ({"Authorization": "Bearer wrong"}, 401),
            ({"Authorization": f"Basic {KEY}"}, 401),
            ({"X-API-Key": KEY}, 200),
            ({"Authorization": f"bearer {KEY}"}, 200),
        ):
            assert client.post("/get-online-features", json=body, headers=headers).status_code == status
        for path in ("/push", "/write-to-online-store", "/materialize", "/materialize-incremental"):
            assert client.post(path, json={}).status_code == 401


def test_redis_away_is_503_with_a_time_to_retry(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: object) -> None:
        raise StoreUnavailable("redis: call failed")

    monkeypatch.setattr(served.online, "fields", away)
    answer = served.ours.post("/get-online-features", json={"entities": {"symbol": ["A"]}, "features": OURS})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


# The registry


def test_what_is_registered_is_listed_as_feasts_registry_server_tells_it(served: Served) -> None:
    def told(path: str) -> dict[str, Any]:
        answer = served.ours.get(f"/api/v1/{path}")
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    entities = told("entities")
    assert {each["spec"]["name"] for each in entities["entities"]} >= {"symbol", "driver", "city"}
    assert entities["pagination"] == {"totalCount": len(entities["entities"]), "totalPages": 1}
    views = told(f"feature_views?project={served.store.project}")["featureViews"]
    assert {each["spec"]["name"]: each["type"] for each in views} == {
        "price": "featureView",
        "orderflow": "featureView",
        "stats": "featureView",
        "sector": "featureView",
        "doubled": "onDemandFeatureView",
    }
    stats = told("feature_views/stats")
    assert stats["spec"]["entities"] == ["driver", "city"]
    assert {field["name"]: field["valueType"] for field in stats["spec"]["features"]}["trips"] == "INT64"
    assert stats == next(each for each in views if each["spec"]["name"] == "stats")
    assert "model" in {each["spec"]["name"] for each in told("feature_services")["featureServices"]}
    assert "drives" in {each["name"] for each in told("data_sources")["dataSources"]}
    assert served.store.project in {each["spec"]["name"] for each in told("projects")["projects"]}
    assert told("entities?project=nobodys") == {"entities": [], "pagination": {}}
    missing_ = served.ours.get("/api/v1/feature_views/nosuch")
    assert (missing_.status_code, "nosuch" in missing_.json()) == (404, True)
    assert served.ours.get("/api/v1/permissions").status_code == 422


# Feast's clients


@pytest.fixture
def url(served: Served) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(served.app, log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def test_a_stock_client_with_a_remote_online_store_reads_and_writes(served: Served, url: str, tmp_path: Path) -> None:
    config = RepoConfig(
        project=served.store.project,
        provider="local",
        registry=str(cast("Any", served.store.config.registry).path),
        online_store={"type": "remote", "path": url},
        auth={"type": "oidc", "token": KEY},
        entity_key_serialization_version=3,
        repo_path=tmp_path,
    )
    client = FeatureStore(config=config)
    served.put("R", [100.5, None, 0.5])
    found = client.get_online_features(OURS, [{"symbol": "R"}, {"symbol": "NOSUCH"}]).to_dict()
    assert found == {
        "symbol": ["R", "NOSUCH"],
        "mid_price": [100.5, None],
        "vwap_3s": [None, None],
        "spread_abs": [0.5, None],
    }
    frame = pd.DataFrame({"symbol": ["R"], "beta": [2.5], "event_timestamp": [to_datetime(B)]})
    client.write_to_online_store("sector", frame)
    assert client.get_online_features(["sector:beta"], [{"symbol": "R"}]).to_dict()["beta"] == [2.5]
    with pytest.raises(Exception, match="only ingest may write them"):
        client.write_to_online_store("price", frame.rename(columns={"beta": "mid_price"}).assign(spread_abs=1.0))


def test_javascript_reads_by_name_over_plain_http(served: Served, url: str) -> None:
    node = shutil.which("node")
    if node is None:
        missing("node")
    assert node is not None
    served.put("JS", [100.5, None, 0.25])

    def read(*features: str, key: str = KEY) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [node, ROOT / "examples" / "feature_server.mjs", url, "JS,NOSUCH", *features],
            env={"FEATURE_SERVICE_API_KEY": key},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    known, unknown = json.loads(read(*OURS).stdout)
    assert known == {
        "symbol": {"value": "JS", "status": "PRESENT"},
        "mid_price": {"value": 100.5, "status": "PRESENT"},
        "vwap_3s": {"value": None, "status": "NULL_VALUE"},
        "spread_abs": {"value": 0.25, "status": "PRESENT"},
    }
    assert unknown["mid_price"] == {"value": None, "status": "NOT_FOUND"}
    refused = read("nosuch:x")
    assert (refused.returncode, refused.stderr.startswith("404: "), "nosuch" in refused.stderr) == (1, True, True)
    assert read(*OURS, key="wrong").stderr.startswith("401: ")


def test_views_are_materialized_from_their_sources_and_ours_are_left(served: Served, tmp_path: Path) -> None:
    source = Path(cast("FileSource", served.store.get_feature_view("sector").batch_source).path)
    when = datetime.now(UTC) - timedelta(minutes=5)
    pq.write_table(
        pa.table({"symbol": ["MAT"], "beta": [4.5], "event_timestamp": pa.array([when], pa.timestamp("us", "UTC"))}),
        source,
    )
    end = (when + timedelta(minutes=1)).isoformat()
    answer = served.ours.post(
        "/materialize", json={"start_ts": (when - timedelta(minutes=1)).isoformat(), "end_ts": end}
    )
    assert (answer.status_code, answer.json()) == (200, None), answer.text
    assert column(served.ask(entities={"symbol": ["MAT"]}, features=["sector:beta"]), "beta")["values"] == [4.5]
    assert served.ours.post("/materialize-incremental", json={"end_ts": end}).status_code == 200
