"""The law of a change: whatever the two versions, and wherever a worker dies on the way, rows are those of a rebuild.

The versions are drawn, the messages are a real recording's, given to many symbols at once, and the worker is killed
while it changes. FEATURE_SERVICE_LAW_COPIES and FEATURE_SERVICE_LAW_CHANGES make it smaller or larger.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from feature_repo.registry_versions import SHIPPED_FOLDER
from market.clock import SECOND_NS
from market.errors import Conflict
from registry.life_cycle import RegistryLifeCycle
from runtime.servers import Servers
from runtime.settings import load_settings
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
)
from tests.gateway import QUEUES, envelopes, publish_in_time, recorded
from tests.integration.test_version_change import RECORDING, servers
from tests.live import NO_EXCHANGE, eventually
from tests.postgres_servers import run

__all__ = ["servers"]  # the fixture

BEFORE: Final = "8.0.0"
AFTER: Final = "8.1.0"
COPIES: Final = int(os.environ.get("FEATURE_SERVICE_LAW_COPIES", "5"))
"""Symbols that have the messages of each recorded one."""
EXAMPLES: Final = int(os.environ.get("FEATURE_SERVICE_LAW_CHANGES", "5"))
SPEED: Final = 0.33
"""Of the recording, 42 s, so that it outlasts a change, a death and a start where the machine is not too busy."""
MOMENTS: Final = ("preparing", "ready", "changed", "serving")
"""What a worker says of a change; it is killed when it says one of them."""
ENTRIES: Final[list[dict[str, Any]]] = yaml.safe_load((SHIPPED_FOLDER / "2.1.0.yaml").read_text())["features"]
begun = partial(eventually, deadline_s=300.0)


def _features(seed: int) -> list[dict[str, Any]]:
    """Features of a version in any order, some of them normalised too."""
    random = Random(seed)  # hypothesis's own lists begin with the first of the catalogue, over and over
    chosen = random.sample(ENTRIES, random.randint(2, 8))
    ways = random.choices(["none", "none", "z_score", "min_max"], k=len(chosen))
    return [
        entry if way == "none" else {**entry, "normalization": {"type": way, "window": "1m"}}
        for entry, way in zip(chosen, ways, strict=True)
    ]


VERSIONS: Final = st.integers(0, 2**32 - 1).map(_features)


@dataclass
class Change:
    """One change that is lived through. killed_ns: when the worker died."""

    folder: Path
    settings: dict[str, str]
    symbols: list[str]
    versions: dict[str, list[dict[str, Any]]]
    killed_ns: int = 0
    times: dict[str, dict[str, list[int]]] = field(default_factory=dict)


@pytest.mark.soak
def test_rows_of_any_two_versions_are_rebuilt_bit_for_bit_whenever_the_worker_dies(
    servers: Servers, broker: Broker, kernel_cache: Path, recorded_data: Path
) -> None:
    broker.declare([*QUEUES.values(), "features.live"])
    moments = iter([*MOMENTS] * EXAMPLES)  # each of them, however few examples there are

    @settings(max_examples=EXAMPLES, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(before=VERSIONS, after=VERSIONS)
    def holds(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> None:
        with _prepared(broker, kernel_cache, servers, {BEFORE: before, AFTER: after}) as change:
            moment = next(moments)
            names = {version: [entry["name"] for entry in features] for version, features in change.versions.items()}
            print(f"killed when {moment}: {names}", flush=True)
            _live_through(change, servers, partial(_published, broker, recorded_data, change.symbols), moment)
            _assert_rebuilt(change)

    holds()


@contextmanager
def _prepared(
    broker: Broker, kernel_cache: Path, servers: Servers, versions: dict[str, list[dict[str, Any]]]
) -> Iterator[Change]:
    """Empty queues, tables and folders, and the two versions with their kernels."""
    for queue in (*QUEUES.values(), "features.live"):
        broker.take_all(queue)
    run(servers.postgres_url, "TRUNCATE feature_registry_versions, ingest_workers, symbol_leases")
    run(servers.postgres_url, "TRUNCATE feature_registry_activations CASCADE")
    folder = Path(tempfile.mkdtemp(prefix="law-"))
    try:
        registry = versions_folder(folder)
        for version, features in versions.items():
            (registry / f"{version}.yaml").write_text(yaml.safe_dump({"version": version, "features": features}))
        symbols = [f"{base}{copy:02d}USDT" for base in ("BTC", "ETH") for copy in range(COPIES)]
        found = {
            "FEATURE_SERVICE_DATA_PATH": str(folder),
            "FEATURE_SERVICE_CACHE_PATH": str(kernel_cache.parent),
            "FEATURE_SERVICE_SYMBOLS": ",".join(symbols),
            "FEATURE_SERVICE_TAPE_SYNC_MS": "20",
            "FEATURE_REGISTRY_VERSIONS_DIR": str(registry),
            "RABBITMQ_HOST": "127.0.0.1",
            "RABBITMQ_PORT": str(broker.port),
            "BYBIT_REST_URL": NO_EXCHANGE,
        }
        for version in versions:
            compiled_kernel(load_settings(found, env_file=None), version).warm_up()
        yield Change(folder, found, symbols, versions)
    finally:
        shutil.rmtree(folder)


def _published(broker: Broker, recorded_data: Path, symbols: list[str]) -> threading.Thread:
    """A thread that publishes the recording from now on, each recorded symbol's messages to all its copies."""
    messages = recorded(recorded_data / RECORDING)
    begin_ns = time.time_ns() + SECOND_NS // 2
    passed = [
        replace(each, body=_renamed(each.body, f"{symbol[:3]}USDT", symbol))
        for each in envelopes(messages, begin_ns=begin_ns, speed=SPEED)
        for symbol in symbols
        if f"{symbol[:3]}USDT".encode() in each.body
    ]
    publishing = threading.Thread(target=publish_in_time, args=(broker, passed))
    publishing.start()
    return publishing


def _renamed(body: bytes, recorded_symbol: str, symbol: str) -> bytes:
    """An envelope of another symbol, with an identity of its own."""
    own = body.replace(recorded_symbol.encode(), symbol.encode())
    return own.replace(b'"event_id": "', f'"event_id": "{symbol}-'.encode(), 1)


def _live_through(change: Change, servers: Servers, publish: Callable[[], threading.Thread], moment: str) -> None:
    """Serve BEFORE, change to AFTER, kill the worker at the moment, start another, and serve to the end."""
    loaded = load_settings(change.settings, env_file=None)
    with life_cycle(loaded, servers) as cycle, closing(ActivationStore(servers.postgres_url)) as store:
        cycle.activate(BEFORE, BY_ANNA, is_acknowledged=True)
        worker = WorkerProcess(change.settings, servers)
        publishing = publish()
        begun(lambda: _symbols_of(cycle, BEFORE) == len(change.symbols))
        refused: list[str] = []

        def activate() -> None:
            try:
                cycle.activate(AFTER, BY_ANNA, is_acknowledged=True)
            except Conflict as error:
                refused.append(str(error))

        activating = threading.Thread(target=activate)
        activating.start()
        begun(lambda: moment in _said(store))
        worker.kill()
        change.killed_ns = time.time_ns()
        again = WorkerProcess(change.settings, servers)
        activating.join(300)
        assert not activating.is_alive()
        for refusal in refused:  # on a busy machine the dead worker is forgotten before the next one lives
            assert "workers: must live until one is ready" in refusal
            begun(lambda: _symbols_of(cycle, BEFORE) == len(change.symbols))
            cycle.activate(AFTER, BY_ANNA, is_acknowledged=True)
        assert cycle.active_version() == AFTER
        begun(lambda: _symbols_of(cycle, AFTER) == len(change.symbols))
        publishing.join()
        last_ns = time.time_ns()
        begun(lambda: _last_row_ns(cycle) > last_ns)
        again.end()
    for symbol in change.symbols:
        change.times[symbol] = seconds_served(loaded, symbol, [BEFORE, AFTER])


def _assert_rebuilt(change: Change) -> None:
    """No second is missing, none is of both versions, and each row is that of a rebuild with its version."""
    loaded = load_settings(change.settings, env_file=None)
    for symbol, times in change.times.items():
        assert_without_a_hole([*times[BEFORE], *times[AFTER]])
        assert max(times[AFTER]) > change.killed_ns + 5 * SECOND_NS, symbol
    for version in change.versions:
        parity = parity_of(loaded, version)
        print(f"{version}: {parity.compared} rows compared, {parity.mismatched} differ", flush=True)
        assert (parity.mismatched, parity.missing, parity.extra, parity.not_compared) == (0, 0, 0, ()), parity
        assert parity.compared >= len(change.symbols)


def _said(store: ActivationStore) -> set[str]:
    """What workers say of the change to AFTER."""
    newest, _ = store.newest()
    if newest is None or newest.version != AFTER:
        return set()
    return {each.state for each in store.confirmations(newest.id).values()}


def _symbols_of(cycle: RegistryLifeCycle, version: str) -> int:
    """Symbols of which the newest worker has rows of the version."""
    return max(
        (len(each.worker.status.get("symbols", {})) for each in cycle.said()[1] if each.version == version), default=0
    )


def _last_row_ns(cycle: RegistryLifeCycle) -> int:
    rows = [
        each["last_row_ns"] or 0
        for said in cycle.said()[1]
        if said.version == AFTER
        for each in said.worker.status.get("symbols", {}).values()
    ]
    return min(rows, default=0)
