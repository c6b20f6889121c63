"""Minutes of random faults: workers killed, connections cut, Redis away; served rows are what a rebuild computes."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from ingestion.tape.compaction import compact_tape
from market.clock import SECOND_NS
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.wiring import compiled_kernel
from storage.features.log import FeatureLog
from storage.instruments import InstrumentPins
from storage.raw.raw_data import RawData
from tests.broker import Broker
from tests.gateway import QUEUES
from tests.live import SYMBOLS, VERSION, eventually
from tests.live_market import all_taped, each_once, event_ids, fed, market, rows_are_online
from tests.redis_servers import RedisServer
from tests.tcp_proxy import TcpProxy
from tests.worker_process import start_process
from training_sets.builds.verification import verify_parity
from training_sets.rebuild.raw_history import RawHistory

SOAK_S = float(os.environ.get("FEATURE_SERVICE_SOAK_S", "600"))


@pytest.mark.soak
@pytest.mark.parametrize("seed", [1])
def test_random_faults_leave_every_message_once_and_every_served_row_as_a_rebuild_computes_it(
    ingest_settings: Settings,
    live_servers: Servers,
    redis_server: RedisServer,
    broker: Broker,
    seed: int,
) -> None:
    rng = Random(seed)
    proxy = TcpProxy(("127.0.0.1", broker.port))
    settings = ingest_settings.model_copy(update={"rabbitmq_port": proxy.port})
    servers = replace(live_servers)
    passed = market(SOAK_S, begin_s=8)
    pause = threading.Event()
    worker = start_process(settings, servers)
    kills = 0
    try:
        with fed(broker, passed):
            end = time.monotonic() + SOAK_S
            while time.monotonic() < end:
                pause.wait(rng.uniform(3, 10))
                fault = rng.choice(["kill", "cut", "cut in a message", "redis"])
                if fault == "kill":
                    worker.kill()
                    worker.wait(60)
                    worker = start_process(settings, servers)
                    kills += 1
                elif fault == "cut":
                    proxy.cut()
                elif fault == "cut in a message":
                    proxy.cut_after(rng.randrange(1, 20_000))
                else:
                    redis_server.kill()
                    pause.wait(rng.uniform(0, 3))
                    redis_server.start()
                assert worker.poll() is None, "no fault ends a worker"
        eventually(lambda: sum(broker.waiting(queue) for queue in QUEUES.values()) == 0)
        all_taped(settings, passed)
        rows_are_online(servers, time.time_ns() + SECOND_NS)
        worker.terminate()
        assert worker.wait(60) == 0
    finally:
        worker.kill()
        worker.wait(60)
        proxy.close()
    raw = settings.raw_folder
    assert kills > 0
    assert event_ids(raw) == each_once(passed)
    assert_parity(settings, raw)


def assert_parity(settings: Settings, raw: Path) -> None:
    for symbol in SYMBOLS:
        compact_tape(raw, symbol, InstrumentPins(raw))
    found = verify_parity(
        RawHistory.of(RawData(raw)), FeatureLog(settings.feature_log_storage_path), compiled_kernel(settings, VERSION)
    )
    assert (found.mismatched, found.missing, found.extra) == (0, 0, 0), found.first_divergence
    assert found.compared > SOAK_S
