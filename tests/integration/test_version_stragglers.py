"""A worker that stands still while the version changes: it holds nobody up, is shown, and comes after by itself."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Final

import httpx
import pytest
from typer.testing import CliRunner

from ingestion.sources.gateway.sharing import shard_queues
from market.clock import SECOND_NS
from registry.life_cycle import RegistryLifeCycle
from runtime.cli import app
from runtime.servers import Servers
from runtime.settings import Settings, load_settings
from storage.online.memory import OnlineMemory
from tests.broker import Broker
from tests.changing import (
    BY_ANNA,
    WorkerProcess,
    assert_without_a_hole,
    life_cycle,
    parity_of,
    seconds_served,
    two_workers,
)
from tests.integration.test_version_change import published_from_now, servers
from tests.integration.test_version_changes_of_workers import changes
from tests.live import SYMBOLS, eventually
from tests.served import api_url

__all__ = ["changes", "servers"]  # the fixtures

BEFORE: Final = "3.0.0"
AFTER: Final = "3.1.0"
SPEED: Final = 0.3
"""Of the recording: its 42 seconds last as long as a worker may stand still, and what comes after."""
begun = partial(eventually, deadline_s=300.0)


@pytest.mark.soak  # as long as a worker that stands still is waited for
@pytest.mark.parametrize("moment", ["preparing", "ready"])
def test_a_worker_that_stands_still_holds_no_change_up_and_comes_after_by_itself(
    changes: dict[str, str], servers: Servers, broker: Broker, recorded_data: Path, moment: str
) -> None:
    broker.declare(shard_queues(2))
    for queue in shard_queues(2):
        broker.take_all(queue)
    shared = {**changes, "FEATURE_SERVICE_SHARDS": "2"}
    settings = load_settings(shared, env_file=None)
    with life_cycle(settings, servers) as cycle, two_workers(shared, cycle, servers, BEFORE) as workers:
        publishing = published_from_now(broker, recorded_data, speed=SPEED)
        begun(lambda: sorted(len(each.worker.status.get("symbols", {})) for each in cycle.said()[1]) == [1, 1])
        eventually(lambda: {each.version for each in cycle.said()[1]} == {BEFORE})
        activating = threading.Thread(target=lambda: cycle.activate(AFTER, BY_ANNA, is_acknowledged=True))
        activating.start()
        begun(lambda: state_of(cycle, workers[1]) == moment)
        workers[1].stand_still()
        begun(lambda: cycle.active_version() == AFTER)
        if moment == "ready":
            eventually(lambda: version_of(cycle, workers[0]) == AFTER)
            assert_shown(settings, servers, workers[1])
        activating.join(timeout=120)
        assert not activating.is_alive()
        eventually(lambda: version_of(cycle, workers[0]) == AFTER)
        workers[1].go_on()
        eventually(lambda: [each.version for each in cycle.said()[1]] == [AFTER, AFTER])
        assert not any(each.is_straggling(AFTER) for each in cycle.said()[1])
        activation, _ = cycle.said()
        assert activation is not None
        assert activation.state == "committed"
        publishing.join()
        for each in workers:
            each.end()
    assert activation.from_row_ns is not None
    for symbol in SYMBOLS:
        times = seconds_served(settings, symbol, [BEFORE, AFTER])
        assert_without_a_hole([*times[BEFORE], *times[AFTER]])
        assert max(times[BEFORE]) == min(times[AFTER]) - SECOND_NS, "no row behind its change is of the version before"
        assert max(times[BEFORE]) >= activation.from_row_ns
    for version in (BEFORE, AFTER):
        parity = parity_of(settings, version)
        assert (parity.mismatched, parity.missing, parity.extra, parity.not_compared) == (0, 0, 0, ()), parity


def state_of(cycle: RegistryLifeCycle, worker: WorkerProcess) -> str | None:
    """What a worker says of the newest activation."""
    said = [each for each in cycle.said()[1] if f"-{worker.pid}-" in each.worker.worker_id]
    return said[0].confirmation.state if said and said[0].confirmation is not None else None


def version_of(cycle: RegistryLifeCycle, worker: WorkerProcess) -> str | None:
    return next((each.version for each in cycle.said()[1] if f"-{worker.pid}-" in each.worker.worker_id), None)


def assert_shown(settings: Settings, servers: Servers, straggler: WorkerProcess) -> None:
    """The API and the command line name the one that straggles, and no other."""
    with api_url(settings, servers, OnlineMemory()) as url:
        document = httpx.get(f"{url}/feature-registry", timeout=30).json()
    shown = {each["worker_id"]: each["is_straggling"] for each in document["workers"]}
    assert sorted(shown.values()) == [False, True], document
    [name] = [worker_id for worker_id, is_straggling in shown.items() if is_straggling]
    assert f"-{straggler.pid}-" in name
    announced = settings.feature_service_data_path / "servers.json"
    announced.write_text(json.dumps({"pid": os.getpid(), **asdict(servers)}))
    listed = CliRunner().invoke(
        app,
        ["registry", "list", "--data", str(settings.feature_service_data_path)],
        env={"FEATURE_REGISTRY_VERSIONS_DIR": str(settings.feature_registry_versions_dir)},
    )
    assert listed.exit_code == 0, listed.output
    assert f"worker {name}: {BEFORE}, ready, straggling: {AFTER} is active" in listed.output
