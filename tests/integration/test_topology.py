"""The roles as the compose file starts them: processes of their own, on servers of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import URL, NullPool, create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from market.clock import SECOND_NS, parse_iso_ns
from runtime.embedded import embedded_redis
from tests import waiting
from tests.commands import PROGRAM
from tests.ports import free_port
from tests.postgres_servers import run

ROOT = Path(__file__).parents[2]
FEATURE_SERVICE = [sys.executable, *PROGRAM]
KEY = "topology-key"
DEADLINE_S = 120.0
eventually = partial(waiting.eventually, deadline_s=DEADLINE_S, pause_s=0.05)
POSTGRES = {
    "HOST": os.environ.get("POSTGRES_HOST") or "127.0.0.1",
    "PORT": os.environ.get("POSTGRES_PORT") or "5432",
    "USER": os.environ.get("POSTGRES_USER") or "postgres",
    "PASSWORD": os.environ.get("POSTGRES_PASSWORD") or "",
}
RABBITMQ = (os.environ.get("RABBITMQ_HOST") or "127.0.0.1", os.environ.get("RABBITMQ_PORT") or "5672")


def database_url(name: str) -> URL:
    return make_url(
        f"postgresql+psycopg://{POSTGRES['USER']}:{POSTGRES['PASSWORD']}@{POSTGRES['HOST']}:{POSTGRES['PORT']}/{name}"
    )


@contextmanager
def own_database() -> Iterator[str]:
    """The name of a database that is made for this and dropped after it."""
    server = database_url("postgres")
    engine = create_engine(server, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    name = f"topology_{uuid.uuid4().hex}"
    try:
        with engine.connect() as connection:
            connection.execute(text(f'CREATE DATABASE "{name}"'))
    except OperationalError as error:
        if os.environ.get("FEATURE_SERVICE_TEST_STRICT") == "1":
            raise
        pytest.skip(f"no PostgreSQL server: {error.orig}")
    try:
        yield name
    finally:
        with engine.connect() as connection:
            connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))


class Process:
    """One role, started as its container would be."""

    def __init__(self, folder: Path, environment: dict[str, str], *arguments: str) -> None:
        self.log = folder / f"{arguments[1]}.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*FEATURE_SERVICE, "run", *arguments], cwd=ROOT, env=environment, stdout=log, stderr=log
            )

    def stop(self) -> int:
        """Ask it to stop and wait for that; returns its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(60)

    def wait(self) -> int:
        """Wait until it ends by itself; returns its exit code."""
        return self._process.wait(DEADLINE_S)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


class Topology:
    """The running roles and how to reach them."""

    def __init__(
        self, ingest: Process, api: Process, ingest_url: str, api_url: str, *, environment: dict[str, str]
    ) -> None:
        self.environment = environment
        self.ingest = ingest
        self.api = api
        self.ingest_probe = httpx.Client(base_url=ingest_url, timeout=10)
        self.client = httpx.Client(base_url=api_url, headers={"X-API-Key": KEY}, timeout=10)

    def close(self) -> None:
        self.ingest_probe.close()
        self.client.close()


@pytest.fixture(scope="module")
def topology(kernel_cache: Path) -> Iterator[Topology]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fs-")))
        redis = stack.enter_context(embedded_redis(folder / "redis"))
        database = stack.enter_context(own_database())
        ports = {"api": free_port(), "ingest": free_port()}
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            "FEATURE_SERVICE_API_KEY": KEY,
            "FEATURE_SERVICE_PORT": str(ports["api"]),
            "FEATURE_SERVICE_METRICS_PORT": str(ports["ingest"]),
            "FEATURE_SERVICE_LOG_FORMAT": "json",
            "FEATURE_SERVICE_SYMBOLS": "BTCUSDT,ETHUSDT",
            "FEATURE_SERVICE_DATA_PATH": str(folder),
            "FEATURE_SERVICE_CACHE_PATH": str(kernel_cache.parent),
            "REDIS_HOST": redis.host,
            "REDIS_PORT": str(redis.port),
            "POSTGRES_DB": database,
            **{f"POSTGRES_{name}": value for name, value in POSTGRES.items()},
            "RABBITMQ_HOST": RABBITMQ[0],
            "RABBITMQ_PORT": RABBITMQ[1],
        }
        simulated = ("--source", "simulator", "--registry", "1.0.0")
        api = Process(folder, environment, "--roles", "api")
        stack.callback(api.end)
        ingest = Process(folder, environment, "--roles", "ingest", *simulated)
        stack.callback(ingest.end)
        urls = [f"http://127.0.0.1:{ports[role]}" for role in ("ingest", "api")]
        found = Topology(ingest, api, *urls, environment=environment)
        stack.callback(found.close)
        for client in (found.client, found.ingest_probe):
            eventually(lambda client=client: is_ready(client))  # type: ignore[misc]  # mypy cannot infer a default's type
        # Told by the worker's heartbeat, some seconds after its first row.
        eventually(lambda: found.client.get("/health").json()["average_latency_ms_last_5min"] is not None)
        yield found


def is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/ready").status_code == 200
    except httpx.TransportError:
        return False


def test_what_ingest_computes_the_api_serves_and_streams(topology: Topology) -> None:
    document = topology.client.get("/features/latest?symbol=ETHUSDT").json()
    assert document["features"]
    assert document["age_ms"] < 10_000
    seen = []
    with topology.client.stream("GET", "/features/stream?symbol=ETHUSDT&interval=1s") as response:
        for line in response.iter_lines():
            if line.startswith("data: "):
                seen.append(parse_iso_ns(json.loads(line.removeprefix("data: "))["timestamp"]))
            if len(seen) == 3:
                break
    # A reader that is slow is given the newest row, not those between.
    assert all(after > before for before, after in pairwise(seen))
    assert [row_ns % SECOND_NS for row_ns in seen] == [0, 0, 0]


def test_every_process_measures_what_its_health_says(topology: Topology) -> None:
    for client in (topology.client, topology.ingest_probe):
        document = client.get("/health").json()
        assert document["status"] == "ok", document["reasons"]
        assert set(document["services"].values()) == {"ok"}
        assert document["queue_connected"] is True
        assert document["data_quality_ok"] is True
        assert document["average_latency_ms_last_5min"] > 0
        assert document["active_dataset_builds_count"] == 0


def test_every_process_has_its_figures(topology: Topology) -> None:
    for client in (topology.client, topology.ingest_probe):
        samples = {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(client.get("/metrics").text)
            for sample in family.samples
        }
        stores = {key[1]: value for key, value in samples.items() if key[0] == "feature_service_store_up"}
        assert stores == dict.fromkeys(["database", "online_store", "tape", "registry", "message_queue"], 1)
        for symbol in ("BTCUSDT", "ETHUSDT"):
            assert samples["feature_service_online_row_age_seconds", symbol] < 10
        assert ("feature_service_messages_total", "BTCUSDT") in samples or client is topology.client
        assert ("feature_service_stage_seconds_count", "close") in samples or client is topology.client
        assert samples["process_resident_memory_bytes",] > 0
        assert samples["feature_service_http_request_seconds_count", "GET", "/ready", "200"] >= 1


def test_every_figure_that_monitoring_asks_for_is_served(topology: Topology) -> None:
    asked = set()
    for path in (ROOT / "deploy" / "alerts.yml", *(ROOT / "deploy" / "grafana" / "dashboards").glob("*.json")):
        asked |= set(re.findall(r"\b(?:feature_service|process)_[a-z_]+\b", path.read_text()))
    served = {
        sample.name
        for client in (topology.client, topology.ingest_probe)
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
    }
    assert len(asked) > 10
    # What the jobs role measures, which does not run here, and what never happened have no sample but a name.
    names = {
        f"{family.name}{suffix}"
        for client in (topology.client, topology.ingest_probe)
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for suffix in (("_total",) if family.type == "counter" else ("",))
    }
    assert asked <= served | names


def test_stats_tell_what_can_be_had_and_why_the_rest_cannot(topology: Topology) -> None:
    stats = topology.client.get("/stats").json()
    assert parse_iso_ns(stats.pop("collected_at")) > 0
    assert set(stats) == {"storage", "processing", "rolling-windows", "subscriptions", "upkeep", "service"}
    for section, figures in stats.items():
        assert topology.client.get(f"/stats/{section}").json().keys() == figures.keys()
        assert {name for name, figure in figures.items() if figure is None} == set(figures["reasons"])
    assert stats["storage"]["tape_storage"]["size_bytes"] > 0
    assert stats["storage"]["tape_storage"]["file_count"] >= 2
    # The tapes lie in the raw folder, whose own bytes are few while nothing is compacted.
    assert stats["storage"]["raw_data_storage"]["size_bytes"] < stats["storage"]["tape_storage"]["size_bytes"]
    assert stats["storage"]["dataset_storage"].keys() == {"size_bytes", "file_count"}
    assert stats["storage"]["online_store"]["used_bytes"] > 0
    assert stats["storage"]["database_bytes"] > 0
    assert stats["processing"]["average_latency_ms_last_5min"] > 0
    assert stats["processing"]["features_computed_24h"] >= stats["processing"]["features_computed_1h"] >= 0
    [worker] = stats["processing"]["workers"]
    assert worker["is_alive"]
    assert worker["symbols"].keys() == {"BTCUSDT", "ETHUSDT"}
    assert worker["symbols"]["BTCUSDT"]["rows"] > 0
    assert worker["stages"]["close"]["p99_ms"] > 0
    assert stats["subscriptions"]["subscriptions"] == []  # a simulated market has none
    assert all(queue["active_consumers"] == 0 for queue in stats["subscriptions"]["queues"])
    windows = {each["symbol"]: each for each in stats["rolling-windows"]["symbols"]}["BTCUSDT"]
    assert windows["age_seconds"] < 10
    assert windows["intervals"].keys() == {"1s", "3s", "15s", "1m"}
    assert windows["total_trades_count"] >= windows["intervals"]["1m"] >= windows["intervals"]["1s"]
    assert windows["memory_usage_bytes_estimate"] > 1_000_000
    assert windows["groups"]["price"]["horizon_seconds"] > 0
    assert windows["groups"]["price"]["status"] in {"OK", "WARMUP"}
    one = topology.client.get("/stats/rolling-windows", params={"symbol": "ETHUSDT"}).json()
    assert [each["symbol"] for each in one["symbols"]] == ["ETHUSDT"]
    assert topology.client.get("/stats/rolling-windows", params={"symbol": "NONE"}).status_code == 404
    assert stats["service"]["tracked_symbols"] == ["BTCUSDT", "ETHUSDT"]
    assert stats["service"]["service_status"] == "ok"
    assert stats["service"]["uptime_seconds"] > 0
    assert topology.client.get("/stats", headers={"X-API-Key": "no"}).status_code == 401


@pytest.mark.parametrize("role", ["ingest", pytest.param("jobs", marks=pytest.mark.soak)])
def test_a_second_data_folder_on_the_database_is_refused_by_name(topology: Topology, tmp_path: Path, role: str) -> None:
    folder = Path(topology.environment["FEATURE_SERVICE_DATA_PATH"])
    ports = {f"FEATURE_SERVICE_{name}": str(free_port()) for name in ("PORT", "METRICS_PORT")}
    other = {**topology.environment, **ports, "FEATURE_SERVICE_DATA_PATH": str(tmp_path / "other")}
    second = Process(tmp_path, other, "--roles", role)
    assert second.wait() == 1
    told = second.log.read_text().splitlines()[-1]
    assert (
        f"raw folder {tmp_path / 'other' / 'raw'}: must be the one that the database belongs to, {folder / 'raw'}"
        in told
    )
    assert "feature-service db adopt-folder" in told


# The last one: it ends what the others use.
def test_both_end_cleanly_when_asked_and_every_line_of_their_logs_is_json(topology: Topology) -> None:
    assert topology.ingest.stop() == 0
    assert topology.api.stop() == 0
    for process in (topology.ingest, topology.api):
        assert all(line.keys() >= {"timestamp", "level", "logger", "event"} for line in process.lines)
        assert process.lines[-1]["event"] == "stopped"
    requests = [line for line in topology.api.lines if line["event"] == "request"]
    assert {"method", "path", "status", "ms", "trace_id"} <= requests[0].keys()
    # What was measured and not written yet was written at the end.
    url = database_url(topology.environment["POSTGRES_DB"])
    found = run(url, "SELECT DISTINCT endpoint, method, status_code FROM api_endpoint_metrics")
    assert ("/stats/storage", "GET", 200) in found
    computed = run(
        url,
        "SELECT symbol, sum(computations) > 0, sum(events_count) > 0, max(latency_ms) > 0 "
        "FROM feature_computation_metrics WHERE computation_interval = '1s' GROUP BY symbol ORDER BY symbol",
    )
    assert computed == [("BTCUSDT", True, True, True), ("ETHUSDT", True, True, True)]
