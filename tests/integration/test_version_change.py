"""A version is activated while a worker runs: queue, Redis, log and Feast change behind one row, or nothing does."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from feature_repo.registry_versions import load_registry_version, service_name
from market.clock import SECOND_NS, parse_iso_ns
from market.errors import Conflict
from runtime.feature_repository import feature_store
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.wiring import compiled_kernel
from storage.database.activations import ActivationStore
from tests.broker import Broker
from tests.changing import (
    BY_ANNA,
    WorkerProcess,
    assert_without_a_hole,
    life_cycle,
    parity_of,
    seconds_served,
    versions_folder,
    write_version,
)
from tests.gateway import envelopes, publish_in_time, recorded
from tests.live import NO_EXCHANGE, SYMBOLS, eventually, live_settings, online_store_of, running
from tests.live_market import rows_pass
from tests.postgres_servers import run

RECORDING: Final = "bybit/linear_BTCUSDT_ETHUSDT_20260809.jsonl.gz"
BEFORE: Final = {"mid_price": "orderbook", "spread_abs": "orderbook", "volume_3s": "trades"}
AFTER: Final = {"mid_price": "orderbook", "depth_bid_top5": "orderbook", "vwap_3s": "trades"}
LATE_NS: Final = SECOND_NS


@pytest.fixture
def settings(broker: Broker, kernel_cache: Path, ingest_settings: Settings) -> Settings:
    data = ingest_settings.feature_service_data_path
    folder = versions_folder(data)
    write_version(folder, "3.0.0", BEFORE)
    write_version(folder, "3.1.0", AFTER)
    found = live_settings(data, broker, kernel_cache, ",".join(SYMBOLS), FEATURE_REGISTRY_VERSIONS_DIR=str(folder))
    for version in ("3.0.0", "3.1.0"):
        compiled_kernel(found, version).warm_up()  # the recording does not last as long as that may take
    return found


@pytest.fixture
def servers(live_servers: Servers) -> Iterator[Servers]:
    run(live_servers.postgres_url, "TRUNCATE feature_registry_versions, ingest_workers")
    run(live_servers.postgres_url, "TRUNCATE feature_registry_activations CASCADE")
    yield live_servers
    run(live_servers.postgres_url, "TRUNCATE feature_registry_versions, ingest_workers")
    run(live_servers.postgres_url, "TRUNCATE feature_registry_activations CASCADE")


def published_from_now(
    broker: Broker, recorded_data: Path, *, speed: float, seconds: float | None = None
) -> threading.Thread:
    """A thread that publishes the recording, or its first seconds, as it is received from now on."""
    messages = recorded(recorded_data / RECORDING, seconds=seconds)
    passed = envelopes(messages, begin_ns=time.time_ns() + SECOND_NS // 2, speed=speed)
    publishing = threading.Thread(target=publish_in_time, args=(broker, passed))
    publishing.start()
    return publishing


def published(broker: Broker) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return [(json.loads(body), dict(headers)) for body, headers in broker.take_all("features.live")]


def test_an_activation_changes_everything_behind_one_row_and_no_row_is_missing(
    settings: Settings, servers: Servers, broker: Broker, recorded_data: Path
) -> None:
    with life_cycle(settings, servers) as cycle:
        cycle.activate("3.0.0", BY_ANNA, is_acknowledged=True)
        with running(settings, servers, version="3.0.0", follows=True) as ingest:
            publishing = published_from_now(broker, recorded_data, speed=1.4)
            eventually(lambda: len(ingest.status().get("symbols", {})) == len(SYMBOLS))
            eventually(lambda: any(worker.version == "3.0.0" for worker in cycle.said()[1]))
            done = cycle.activate("3.1.0", BY_ANNA, is_acknowledged=True)
            activation, [said] = cycle.said()
            assert activation is not None
            assert done.is_active
            assert (activation.state, activation.version) == ("committed", "3.1.0")
            assert said.confirmation is not None
            assert (said.confirmation.state, said.confirmation.from_row_ns) == ("serving", activation.from_row_ns)
            eventually(lambda: cycle.said()[1][0].version == "3.1.0")
            publishing.join()
            boundary_ns = activation.from_row_ns
            assert boundary_ns is not None
            rows_pass(ingest, boundary_ns + SECOND_NS)
            assert all(each["late"] < each["messages"] for each in ingest.status()["symbols"].values())

    documents = published(broker)
    for vector, headers in documents:
        expected = "3.1.0" if headers["row_ns"] > boundary_ns else "3.0.0"
        assert vector["feature_registry_version"] == expected
        assert set(vector["features"]) | set(vector["missing"]) == set(
            load_registry_version(expected, settings.feature_registry_versions_dir).feature_set.columns
        )
    online = online_store_of(servers)
    for symbol in SYMBOLS:
        times = seconds_served(settings, symbol, ["3.0.0", "3.1.0"])
        assert max(times["3.0.0"]) == boundary_ns == min(times["3.1.0"]) - SECOND_NS
        assert_without_a_hole([*times["3.0.0"], *times["3.1.0"]])
        of_queue = [
            parse_iso_ns(vector["timestamp"])
            for vector, headers in documents
            if (headers["symbol"], headers["interval"]) == (symbol, "1s")
        ]
        assert of_queue == sorted([*times["3.0.0"], *times["3.1.0"]])
        [newest] = online.read([symbol])
        assert newest is not None
        assert newest.version == "3.1.0"
        views = [("price", "spread_abs"), ("price", "mid_price"), ("orderflow", "volume_3s"), ("orderflow", "vwap_3s")]
        assert online.held(symbol, views) == [False, True, False, True]
    online.close()
    for version in ("3.0.0", "3.1.0"):
        parity = parity_of(settings, version)
        assert (parity.mismatched, parity.missing, parity.extra, parity.not_compared) == (0, 0, 0, ()), parity
        assert parity.compared > 0
    names = {service.name for service in feature_store(servers).list_feature_services()}
    assert {service_name("3.0.0"), service_name("3.1.0")} <= names


@pytest.mark.soak
@pytest.mark.parametrize("moment", ["ready", "changed", "serving"])
def test_a_worker_that_is_killed_while_it_changes_leaves_no_hole_and_every_row_is_rebuilt(
    settings: Settings, servers: Servers, broker: Broker, recorded_data: Path, tmp_path: Path, moment: str
) -> None:
    changes = {
        "FEATURE_SERVICE_DATA_PATH": str(tmp_path),
        "FEATURE_SERVICE_CACHE_PATH": str(settings.feature_service_cache_path),
        "FEATURE_SERVICE_SYMBOLS": ",".join(SYMBOLS),
        "FEATURE_SERVICE_TAPE_SYNC_MS": "20",
        "FEATURE_REGISTRY_VERSIONS_DIR": str(settings.feature_registry_versions_dir),
        "RABBITMQ_HOST": "127.0.0.1",
        "RABBITMQ_PORT": str(broker.port),
        "BYBIT_REST_URL": NO_EXCHANGE,
    }
    store = ActivationStore(servers.postgres_url)
    with life_cycle(settings, servers) as cycle:
        cycle.activate("3.0.0", BY_ANNA, is_acknowledged=True)
        worker = WorkerProcess(changes, servers)
        publishing = published_from_now(broker, recorded_data, speed=1)
        eventually(lambda: any(len(each.worker.status.get("symbols", {})) == 2 for each in cycle.said()[1]))

        def activate() -> None:
            cycle.activate("3.1.0", BY_ANNA, is_acknowledged=True)

        activating = threading.Thread(target=activate)
        activating.start()

        def says() -> set[str]:
            newest, _ = store.newest()
            return set() if newest is None else {each.state for each in store.confirmations(newest.id).values()}

        eventually(lambda: moment in says(), pause_s=0.02)
        worker.kill()
        activating.join()
        assert cycle.active_version() == "3.1.0"
        again = WorkerProcess(changes, servers)
        eventually(lambda: any(each.version == "3.1.0" for each in cycle.said()[1]))
        publishing.join()
        last_ns = time.time_ns()
        eventually(lambda: _last_row_ns(cycle) > last_ns)
        again.end()
    store.close()
    for symbol in SYMBOLS:
        times = seconds_served(settings, symbol, ["3.0.0", "3.1.0"])
        assert_without_a_hole([*times["3.0.0"], *times["3.1.0"]])
    for version in ("3.0.0", "3.1.0"):
        parity = parity_of(settings, version)
        assert (parity.mismatched, parity.missing, parity.extra, parity.not_compared) == (0, 0, 0, ()), parity


def _last_row_ns(cycle: Any) -> int:  # noqa: ANN401
    rows = [
        each["last_row_ns"] or 0
        for said in cycle.said()[1]
        if said.version == "3.1.0"
        for each in said.worker.status.get("symbols", {}).values()
    ]
    return min(rows, default=0)


@pytest.mark.soak
def test_a_version_over_budget_is_refused_with_409_and_the_state_is_as_before(
    settings: Settings, servers: Servers, broker: Broker, recorded_data: Path
) -> None:
    strict = settings.model_copy(update={"feature_registry_row_budget_ms": 1e-6})
    with life_cycle(settings, servers) as cycle:
        cycle.activate("3.0.0", BY_ANNA, is_acknowledged=True)
        with running(strict, servers, version="3.0.0", follows=True) as ingest:
            publishing = published_from_now(broker, recorded_data, speed=4)
            eventually(lambda: len(ingest.status().get("symbols", {})) == len(SYMBOLS))
            eventually(lambda: any(worker.version == "3.0.0" for worker in cycle.said()[1]))
            with pytest.raises(Conflict, match=r"3\.1\.0: not activated, 3\.0\.0 continues: worker .*: cost of a row"):
                cycle.activate("3.1.0", BY_ANNA, is_acknowledged=True)
            publishing.join()
        assert cycle.active_version() == "3.0.0"
        newest = cycle.audit(limit=1)[0]
        assert (newest["action"], newest["version"], newest["previous_version"]) == ("refuse", "3.1.0", "3.0.0")
        assert "cost of a row" in newest["reason"]
    assert {vector["feature_registry_version"] for vector, _ in published(broker)} == {"3.0.0"}
