"""A live worker that is killed, or whose disk is full: another goes on from its tape, and no message is lost."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from market.clock import SECOND_NS
from runtime.servers import Servers
from runtime.settings import Settings
from storage.database.leases import Leases
from tests.broker import Broker
from tests.gateway import QUEUES, publish_in_time
from tests.live import eventually, running
from tests.live_market import (
    SYMBOL,
    all_taped,
    check_all,
    each_once,
    event_ids,
    fed,
    kernel,
    market,
    rows_are_online,
    rows_pass,
    settings,
    taped_messages,
)
from tests.worker_process import start_process
from transforms.kernel import Kernel

__all__ = ["kernel", "settings"]  # fixtures


def test_a_worker_that_is_killed_is_followed_by_another_that_goes_on_from_the_tape(
    settings: Settings, kernel: Kernel, live_servers: Servers, broker: Broker, tmp_path: Path
) -> None:
    passed = market(24, begin_s=6.0)
    first = start_process(settings, live_servers)
    leases = Leases(live_servers.postgres_url)
    second = None
    try:
        eventually(lambda: len(leases.owners()) == 2)
        owner = leases.owners()[SYMBOL]
        second = start_process(settings, live_servers)
        with fed(broker, passed):
            eventually(lambda: taped_messages(settings) > len(passed) // 3)
            first.kill()
            # Another owner, with a higher fence.
            eventually(lambda: leases.owners().get(SYMBOL, owner)[0] != owner[0])
            eventually(lambda: leases.owners().get(SYMBOL, owner)[1] > owner[1])
        all_taped(settings, passed)
        eventually(lambda: sum(broker.waiting(queue) for queue in QUEUES.values()) == 0)
        rows_are_online(live_servers, time.time_ns() + SECOND_NS)
        second.terminate()
        assert second.wait(60) == 0, "the second worker ends cleanly"
    finally:
        leases.close()
        for process in (first, second):
            if process is not None:
                process.kill()
                process.wait(60)
    check_all(settings, kernel, broker, passed, tmp_path / "replay")


@pytest.mark.soak  # a worker that is killed anywhere is tested above
def test_a_worker_that_did_not_stop_in_time_costs_no_message_and_no_row(
    settings: Settings, kernel: Kernel, live_servers: Servers, broker: Broker, tmp_path: Path
) -> None:
    passed = market(14, begin_s=8.0)
    process = start_process(settings, live_servers, stop_deadline_s=0.0)
    try:
        with fed(broker, passed):
            eventually(lambda: taped_messages(settings) > len(passed) // 3)
            process.terminate()
            assert process.wait(60) == 1, "it says that it did not stop in time"
            with running(settings, live_servers) as ingest:
                all_taped(settings, passed)
                rows_pass(ingest, time.time_ns() + SECOND_NS)
    finally:
        process.kill()
        process.wait(60)
    check_all(settings, kernel, broker, passed, tmp_path / "replay")


def test_a_full_disk_ends_the_worker_and_costs_no_message(
    settings: Settings, kernel: Kernel, live_servers: Servers, broker: Broker, tmp_path: Path
) -> None:
    passed = market(3)
    process = start_process(settings, live_servers, largest_file=20_000)
    try:
        publish_in_time(broker, passed)
        assert process.wait(90) == 1, "a tape that cannot be written ends the process"
    finally:
        process.kill()
        process.wait(60)
    with running(settings, live_servers) as ingest:
        all_taped(settings, passed)
        rows_pass(ingest, time.time_ns() + SECOND_NS)
    assert event_ids(settings.raw_folder) == each_once(passed)
    assert [broker.waiting(queue) for queue in QUEUES.values()] == [0] * len(QUEUES)
