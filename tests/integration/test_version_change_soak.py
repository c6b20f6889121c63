"""Changes of the version one after the other, under 20 symbols at 100 messages a second each through RabbitMQ.

How late rows were is printed, not judged: it depends on the machine.
FEATURE_SERVICE_BENCH_LIVE_SYMBOLS, FEATURE_SERVICE_BENCH_LIVE_RATE, FEATURE_SERVICE_SOAK_CHANGES and
FEATURE_SERVICE_SOAK_EVERY_S make it smaller.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from benchmarks.live import SYMBOLS, publish_load
from registry.life_cycle import RegistryLifeCycle
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.wiring import compiled_kernel
from tests.broker import Broker
from tests.changing import (
    BY_ANNA,
    WorkerProcess,
    assert_without_a_hole,
    delays_s,
    life_cycle,
    parity_of,
    seconds_served,
    versions_folder,
    write_version,
)
from tests.live import NO_EXCHANGE, live_settings
from tests.postgres_servers import run
from tests.waiting import eventually

CHANGES: Final = int(os.environ.get("FEATURE_SERVICE_SOAK_CHANGES", "10"))
EVERY_S: Final = float(os.environ.get("FEATURE_SERVICE_SOAK_EVERY_S", "60"))
"""From the begin of a change to that of the next one, if it is done by then."""
SECONDS: Final = 120 * CHANGES
"""Of load, so that it outlasts the changes on a busy machine; it is ended after the last of them."""
BOOK: Final = {"mid_price": "orderbook", "depth_bid_top5": "orderbook"}
VERSIONS: Final = {
    "3.0.0": {**BOOK, "volume_3s": "trades"},
    "3.1.0": {**BOOK, "spread_abs": "orderbook", "vwap_3s": "trades"},
}
GROWTH_MB: Final = 60.0
"""From the third change on, when every version was loaded: trades are known for 572 s, so that the last are counted
once, and take some 5 MB a minute until then whether versions change or not."""


@pytest.fixture
def settings(broker: Broker, kernel_cache: Path, ingest_settings: Settings) -> Settings:
    data = ingest_settings.feature_service_data_path
    folder = versions_folder(data)
    for version, names in VERSIONS.items():
        write_version(folder, version, names)
    return live_settings(data, broker, kernel_cache, ",".join(SYMBOLS), FEATURE_REGISTRY_VERSIONS_DIR=str(folder))


@pytest.mark.soak
def test_ten_changes_in_ten_minutes_under_load_miss_no_row_and_take_no_memory(
    settings: Settings, live_servers: Servers, broker: Broker
) -> None:
    url = live_servers.postgres_url
    run(url, "TRUNCATE feature_registry_versions, ingest_workers")
    run(url, "TRUNCATE feature_registry_activations CASCADE")
    for version in VERSIONS:
        compiled_kernel(settings, version).warm_up()
    changes = {
        "FEATURE_SERVICE_DATA_PATH": str(settings.feature_service_data_path),
        "FEATURE_SERVICE_CACHE_PATH": str(settings.feature_service_cache_path),
        "FEATURE_SERVICE_SYMBOLS": ",".join(SYMBOLS),
        "FEATURE_REGISTRY_VERSIONS_DIR": str(settings.feature_registry_versions_dir),
        "RABBITMQ_HOST": "127.0.0.1",
        "RABBITMQ_PORT": str(broker.port),
        "BYBIT_REST_URL": NO_EXCHANGE,
    }
    order = list(VERSIONS)
    took: list[float] = []
    with life_cycle(settings, live_servers) as cycle:
        cycle.activate(order[0], BY_ANNA, is_acknowledged=True)
        worker = WorkerProcess(changes, live_servers)
        publishing = multiprocessing.get_context("spawn").Process(
            target=publish_load, args=(broker.port, SECONDS, None)
        )
        publishing.start()
        # The publisher makes its messages first, which takes a minute of them for every ten minutes of load.
        eventually(lambda: _symbols_served(cycle) == len(SYMBOLS), deadline_s=600.0)
        pause, first = threading.Event(), time.monotonic()
        for number in range(1, CHANGES + 1):
            pause.wait(max(0.0, first + (number - 1) * EVERY_S - time.monotonic()))
            begun = time.monotonic()
            cycle.activate(order[number % len(order)], BY_ANNA, is_acknowledged=True)
            took.append(time.monotonic() - begun)
            print(f"change {number}: {took[-1]:.1f} s, load {os.getloadavg()[0]:.1f}", flush=True)
        print(f"{CHANGES} changes took {sum(took):.0f} s, in {time.monotonic() - first:.0f} s of load", flush=True)
        publishing.terminate()
        publishing.join()
        last_ns = time.time_ns()
        eventually(
            lambda: all(
                (symbol["last_row_ns"] or 0) > last_ns
                for each in cycle.said()[1]
                for symbol in each.worker.status.get("symbols", {}).values()
            ),
            deadline_s=120.0,
        )
        found = worker.end()
    memory = found["memory_mb"]
    third_at = len(memory) * 3 // CHANGES if CHANGES > 4 else len(memory) // 2
    late = [dict(headers) for _, headers in broker.take_all("features.live") if dict(headers)["late"]]
    stages = found["status"]["stages"]
    print(f"memory MB each minute: {[round(each) for each in (*memory[::60], memory[-1])]}; late rows {len(late)}")
    print(f"messages {found['status']['worker']['messages_total']}, online p99 {stages['online']['p99_ms']} ms")
    delays = np.concatenate([delays_s(settings, symbol, version) for symbol in SYMBOLS for version in order])
    print(f"rows {len(delays)}: delay p99 {np.quantile(delays, 0.99):.3f} s, worst {delays.max():.3f} s", flush=True)
    for symbol in SYMBOLS:
        times = seconds_served(settings, symbol, order)
        assert_without_a_hole([each for of_version in times.values() for each in of_version])
    for version in order:
        parity = parity_of(settings, version)
        print(f"parity of {version}: {parity}")
        assert (parity.mismatched, parity.missing, parity.extra, parity.not_compared) == (0, 0, 0, ())
    # A change takes memory while two versions are computed: the least of a minute is that without one.
    assert min(memory[-60:]) - min(memory[third_at : third_at + 60]) < GROWTH_MB


def _symbols_served(cycle: RegistryLifeCycle) -> int:
    return max((len(each.worker.status.get("symbols", {})) for each in cycle.said()[1]), default=0)
