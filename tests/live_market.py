"""A market that is fed to a live worker, and what must then be on its tapes, in its rows and in the queues."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from market.clock import SECOND_NS
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.wiring import compiled_kernel
from storage.features.log import FeatureLog
from storage.tape import read_tape
from tests.broker import Broker
from tests.gateway import QUEUES, Passed, envelopes, publish_in_time
from tests.live import SYMBOLS, VERSION, LiveIngest, bits, eventually, online_store_of, replayed
from transforms.kernel import Kernel

SYMBOL = "BTCUSDT"


@pytest.fixture
def settings(ingest_settings: Settings) -> Settings:
    return ingest_settings


@pytest.fixture
def kernel(settings: Settings) -> Kernel:
    return compiled_kernel(settings, VERSION)


def market(seconds: float, *, begin_s: float = 1.0, seed: int = 5) -> list[Passed]:
    """A simulated market of both symbols as the gateway passes it on, from ``begin_s`` from now on."""
    begin_ns = time.time_ns() + int(begin_s * SECOND_NS)
    messages = list(simulate(DEFAULT_SYMBOLS, seed=seed, start_ns=begin_ns, duration_ns=int(seconds * SECOND_NS)))
    return envelopes(messages, begin_ns=begin_ns)


@contextmanager
def fed(broker: Broker, passed: Sequence[Passed]) -> Iterator[Callable[[], None]]:
    """Publish in time beside the test; yields what waits for the last one."""
    feeding = threading.Thread(target=publish_in_time, args=(broker, passed), daemon=True)
    feeding.start()
    try:
        yield lambda: feeding.join(60)
    finally:
        feeding.join(60)


def event_ids(raw: Path, symbols: Sequence[str] = SYMBOLS) -> Counter[str]:
    """How often each message is on the tapes."""
    bodies: list[dict[str, Any]] = [json.loads(frame.body) for symbol in symbols for frame in read_tape(raw, symbol)]
    return Counter(body["event_id"] for body in bodies if "event_id" in body)


def each_once(passed: Sequence[Passed]) -> Counter[str]:
    return Counter(json.loads(each.body)["event_id"] for each in passed)


def row_times(ingest: LiveIngest) -> dict[str, int]:
    return {symbol: each["last_row_ns"] or 0 for symbol, each in ingest.status().get("symbols", {}).items()}


def rows_pass(ingest: LiveIngest, time_ns: int) -> None:
    """Wait until both symbols have a row after ``time_ns``, perhaps between whole seconds, which the log lacks."""
    eventually(lambda: len(row_times(ingest)) == 2 and min(row_times(ingest).values()) > time_ns)


def all_taped(settings: Settings, passed: Sequence[Passed]) -> None:
    """Wait until every message is on a tape. A row after the last one does not say so: rows also close by the clock."""
    eventually(lambda: taped_messages(settings) == len(passed))


def rows_are_online(servers: Servers, time_ns: int) -> None:
    """Wait until the online store has a row after ``time_ns`` of both symbols."""
    with closing(online_store_of(servers)) as store:
        eventually(lambda: all(each is not None and each.row_ns > time_ns for each in store.read(SYMBOLS)))


def check_rows(settings: Settings, kernel: Kernel, scratch: Path) -> None:
    """Every second has its row in the log, and it is what a replay of the tape computes, bit for bit."""
    for symbol in SYMBOLS:
        served, _ = FeatureLog(settings.feature_log_storage_path).read(
            symbol, kernel.feature_set, from_ns=None, to_ns=None
        )
        assert {later - earlier for earlier, later in pairwise(served.row_ns.tolist())} <= {SECOND_NS}
        assert len(served) > 3
        expected = replayed(settings.raw_folder, symbol, kernel, scratch, until_ns=int(served.row_ns[-1]))
        assert bits(served) == bits(expected)
        assert np.isfinite(served.values).any()


def check_all(settings: Settings, kernel: Kernel, broker: Broker, passed: Sequence[Passed], scratch: Path) -> None:
    assert event_ids(settings.raw_folder) == each_once(passed)
    assert [broker.waiting(queue) for queue in QUEUES.values()] == [0] * len(QUEUES)
    check_rows(settings, kernel, scratch)


def messages_taken(ingest: LiveIngest) -> int:
    return int(ingest.status().get("worker", {}).get("messages_total", 0))


def taped_messages(settings: Settings) -> int:
    try:
        return sum(event_ids(settings.raw_folder).values())
    except Exception:  # noqa: BLE001  # no tape yet, or one that is being written
        return 0
