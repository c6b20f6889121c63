"""Versions of real worker processes: two that change as one, and broken ones that never reach a consumer."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ingestion.sources.gateway.sharing import shard_queues
from market.errors import Conflict
from runtime.servers import Servers
from runtime.settings import Settings, load_settings
from runtime.wiring import compiled_kernel
from tests.broker import Broker
from tests.changing import (
    BY_ANNA,
    WorkerProcess,
    assert_without_a_hole,
    life_cycle,
    parity_of,
    seconds_served,
    two_workers,
    versions_folder,
    write_version,
)
from tests.integration.test_version_change import AFTER, BEFORE, published, published_from_now, servers
from tests.live import NO_EXCHANGE, SYMBOLS, eventually

__all__ = ["servers"]  # the fixture

begun = partial(eventually, deadline_s=300.0)
"""For processes that start beside each other on a machine that is shared."""
TOYS = "tests.toy_features"
BROKEN = {
    "9.0.0": ("toy_raises", "no row can be computed"),
    "9.1.0": ("toy_text", "TypingError"),
    "9.2.0": ("toy_slow", "cost of a row: must be at most 3 ms, was"),
}


@pytest.fixture
def changes(broker: Broker, kernel_cache: Path, ingest_settings: Settings) -> dict[str, str]:
    data = ingest_settings.feature_service_data_path
    folder = versions_folder(data)
    write_version(folder, "3.0.0", BEFORE)
    write_version(folder, "3.1.0", AFTER)
    for version, (toy, _) in BROKEN.items():
        write_version(folder, version, {"mid_price": "orderbook", toy: ""})
    found = {
        "FEATURE_SERVICE_DATA_PATH": str(data),
        "FEATURE_SERVICE_CACHE_PATH": str(kernel_cache.parent),
        "FEATURE_SERVICE_SYMBOLS": ",".join(SYMBOLS),
        "FEATURE_SERVICE_TAPE_SYNC_MS": "20",
        "FEATURE_REGISTRY_VERSIONS_DIR": str(folder),
        "RABBITMQ_HOST": "127.0.0.1",
        "RABBITMQ_PORT": str(broker.port),
        "BYBIT_REST_URL": NO_EXCHANGE,
    }
    for version in ("3.0.0", "3.1.0"):
        compiled_kernel(load_settings(found, env_file=None), version).warm_up()
    return found


@pytest.mark.soak  # two processes and their warming on one machine
def test_two_workers_change_behind_the_same_row_and_each_says_so(
    changes: dict[str, str], servers: Servers, broker: Broker, recorded_data: Path
) -> None:
    broker.declare(shard_queues(2))
    for queue in shard_queues(2):
        broker.take_all(queue)
    shared = {**changes, "FEATURE_SERVICE_SHARDS": "2"}
    settings = load_settings(shared, env_file=None)
    with life_cycle(settings, servers) as cycle, two_workers(shared, cycle, servers, "3.0.0") as workers:
        publishing = published_from_now(broker, recorded_data, speed=1)
        begun(lambda: sorted(len(each.worker.status.get("symbols", {})) for each in cycle.said()[1]) == [1, 1])
        cycle.activate("3.1.0", BY_ANNA, is_acknowledged=True)
        activation, said = cycle.said()
        assert activation is not None
        assert activation.state == "committed"
        confirmed = [each.confirmation for each in said]
        assert [each and (each.state, each.from_row_ns) for each in confirmed] == [
            ("serving", activation.from_row_ns)
        ] * 2
        eventually(lambda: [each.version for each in cycle.said()[1]] == ["3.1.0"] * 2)
        assert not any(each.is_straggling("3.1.0") for each in cycle.said()[1])
        publishing.join()
        for each in workers:
            each.end()
    for symbol in SYMBOLS:
        times = seconds_served(settings, symbol, ["3.0.0", "3.1.0"])
        assert max(times["3.0.0"]) == activation.from_row_ns
        assert_without_a_hole([*times["3.0.0"], *times["3.1.0"]])
    for version in ("3.0.0", "3.1.0"):
        parity = parity_of(settings, version)
        assert (parity.mismatched, parity.missing, parity.extra, parity.not_compared) == (0, 0, 0, ()), parity


@pytest.mark.soak  # what a kernel that is refused takes to compile
def test_a_version_that_does_not_compile_raises_or_is_too_slow_never_reaches_a_consumer(
    changes: dict[str, str],
    servers: Servers,
    broker: Broker,
    recorded_data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = load_settings(changes, env_file=None)
    monkeypatch.setenv("FEATURE_SERVICE_FEATURE_MODULES", TOYS)  # of the processes, not of this one
    with life_cycle(settings, servers) as cycle, ExitStack() as stack:
        cycle.activate("3.0.0", BY_ANNA, is_acknowledged=True)
        worker = WorkerProcess(changes, servers)
        stack.callback(worker.kill)
        publishing = published_from_now(broker, recorded_data, speed=0.5)
        begun(lambda: any(len(each.worker.status.get("symbols", {})) == 2 for each in cycle.said()[1]))
        for version, (_, reason) in BROKEN.items():
            refusal = activated_elsewhere(changes, servers, version)
            assert refusal is not None
            assert f"{version}: not activated, 3.0.0 continues: worker " in refusal
            assert reason in refusal
            assert cycle.active_version() == "3.0.0"
        assert [line["action"] for line in cycle.audit(limit=3)] == ["refuse"] * 3
        publishing.join()
        worker.end()
    assert {vector["feature_registry_version"] for vector, _ in published(broker)} == {"3.0.0"}
    for symbol in SYMBOLS:
        assert_without_a_hole(seconds_served(settings, symbol, ["3.0.0"])["3.0.0"])


def activated_elsewhere(changes: Mapping[str, str], servers: Servers, version: str) -> str | None:
    """Activate a version in a process of its own, whose catalogue has other features; why it was refused."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=_activate, args=(dict(changes), servers, version, results))
    process.start()
    found: str | None = results.get(timeout=300)
    process.join(60)
    return found


def _activate(changes: dict[str, str | None], servers: Servers, version: str, results: Any) -> None:  # noqa: ANN401  # a queue
    with life_cycle(load_settings(changes, env_file=None), servers) as cycle:
        try:
            cycle.activate(version, BY_ANNA, is_acknowledged=True)
        except Conflict as error:
            results.put(str(error))
        else:
            results.put(None)
