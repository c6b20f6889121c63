"""What a reader is given at any moment is the row that the tape gives at its own time, to the bit."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from market.clock import SECOND_NS
from runtime.ingest_role import IngestRole
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.sources import SourceChoice
from runtime.wiring import compiled_kernel
from storage.online.memory import OnlineMemory
from tests.broker import Broker
from tests.gateway import Passed, envelopes, publish_in_time, recorded
from tests.live import VERSION, eventually
from tests.served import Readers, reading_every_way
from tests.served_proofs import assert_proven

RECORDING = "bybit/linear_BTCUSDT_ETHUSDT_20260809.jsonl.gz"
LONG_RECORDING = "reencoded/BTCUSDT_20240718-19.jsonl.gz"
WAYS = ("client", "http", "feast", "stream")
_log = logging.getLogger(__name__)

READS = 40
"""Of each way that asks, and rows of the stream."""
SOAK_READS = int(os.environ.get("FEATURE_SERVICE_SOAK_READS", "3400"))
"""Of each way that asks: ten thousand of all."""
SPAN_NS = 7 * SECOND_NS
"""That a dataset has three periods which are longer than its label looks ahead."""


@contextmanager
def role(settings: Settings, servers: Servers, choice: SourceChoice, memory: OnlineMemory) -> Iterator[IngestRole]:
    found = IngestRole(settings, servers, choice, version=VERSION, memory=memory)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            found.run()
        except BaseException as error:  # noqa: BLE001  # raised below
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.stop()
        thread.join(60)
        assert not thread.is_alive()
    if failures:
        raise failures[0]


def wait_for(readers: Readers, reads: int) -> None:
    ways = WAYS if reads == READS else WAYS[:3]

    def have_read() -> bool:
        is_enough = min(readers.count(way) for way in ways) >= reads and readers.span_ns > SPAN_NS
        # A machine that does not keep up leaves out rows between seconds: some must be among those that are proven.
        return readers.check() and is_enough and any(reading.row_ns % SECOND_NS for reading in readers.readings)

    eventually(have_read, deadline_s=60 + reads / 2, pause_s=0.2)


def check(settings: Settings, servers: Servers, readers: Readers) -> None:
    assert_proven(settings, servers, compiled_kernel(settings, VERSION), readers.readings)
    counts = Counter(reading.way for reading in readers.readings)
    between = sum(reading.row_ns % SECOND_NS != 0 for reading in readers.readings)
    _log.info("%d readings proven, %d of rows between seconds: %s", counts.total(), between, dict(counts))


def simulated(settings: Settings, servers: Servers, *, reads: int) -> None:
    memory = OnlineMemory()
    settings = settings.model_copy(update={"rabbitmq_host": None})
    kernel = compiled_kernel(settings, VERSION)
    with (
        role(settings, servers, SourceChoice("simulator", seed=3), memory),
        reading_every_way(settings, servers, memory, kernel.feature_set, seed=1, mean_pause_s=0.05) as readers,
    ):
        wait_for(readers, reads)
    check(settings, servers, readers)


def some_seconds(recorded_data: Path, begin_ns: int) -> list[Passed]:
    """Twelve seconds of both symbols."""
    return envelopes(recorded(recorded_data / RECORDING, seconds=24), begin_ns=begin_ns, speed=2)


def eight_minutes(recorded_data: Path, begin_ns: int) -> list[Passed]:
    """As long as ten thousand reads take: a long recording of one symbol, and beside it a short one, slowly."""
    of_one = envelopes(recorded(recorded_data / LONG_RECORDING), begin_ns=begin_ns)
    slowly = envelopes(recorded(recorded_data / RECORDING), begin_ns=begin_ns, speed=0.1)
    return sorted([*of_one, *(each for each in slowly if b"ETHUSDT" in each.body)], key=lambda each: each.recv_ns)


def played(
    settings: Settings,
    servers: Servers,
    broker: Broker,
    recordings: Callable[[int], list[Passed]],
    *,
    reads: int,
) -> None:
    memory = OnlineMemory()
    kernel = compiled_kernel(settings, VERSION)
    with role(settings, servers, SourceChoice("gateway"), memory):
        passed = recordings(time.time_ns() + 2 * SECOND_NS)
        publishing = threading.Thread(target=publish_in_time, args=(broker, passed), daemon=True)
        publishing.start()
        with reading_every_way(settings, servers, memory, kernel.feature_set, seed=2, mean_pause_s=0.05) as readers:
            wait_for(readers, reads)
        publishing.join(600)
        assert not publishing.is_alive()
    check(settings, servers, readers)


def test_a_recording_through_the_broker(
    ingest_settings: Settings, live_servers: Servers, broker: Broker, recorded_data: Path
) -> None:
    played(ingest_settings, live_servers, broker, partial(some_seconds, recorded_data), reads=READS)


@pytest.mark.soak
def test_ten_thousand_moments_of_a_simulated_market(ingest_settings: Settings, live_servers: Servers) -> None:
    simulated(ingest_settings, live_servers, reads=SOAK_READS)


@pytest.mark.soak
def test_ten_thousand_moments_of_a_recording(
    ingest_settings: Settings, live_servers: Servers, broker: Broker, recorded_data: Path
) -> None:
    played(ingest_settings, live_servers, broker, partial(eight_minutes, recorded_data), reads=SOAK_READS)
