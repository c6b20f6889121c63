"""Roles that start while the object store of feature log and raw data is away: live data goes on, nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ingestion.sinks import row_log
from market.clock import SECOND_NS
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.wiring import compiled_kernel
from storage.objects import reach
from tests.broker import Broker
from tests.contract.conftest import s3, s3_server
from tests.live import VERSION, online_store_of, running
from tests.live_market import check_all, fed, market, row_times, rows_pass
from tests.s3_server import FaultProxy, new_object_place
from tests.waiting import eventually

__all__ = ["s3", "s3_server"]  # fixtures


@pytest.fixture
def settings(ingest_settings: Settings, s3: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Of processes that ask an absent store again soon."""
    monkeypatch.setattr(row_log, "RETRY_S", 0.1)
    monkeypatch.setattr(reach, "RETRY_S", 0.1)
    stores = {
        "feature_log_storage_path": new_object_place(),
        "raw_data_storage_path": new_object_place(),
    }
    yield ingest_settings.model_copy(update=stores)
    s3.heal()


def test_a_worker_that_starts_while_the_store_is_away_serves_and_catches_up_once_it_is_back(
    settings: Settings, live_servers: Servers, broker: Broker, s3: FaultProxy, tmp_path: Path
) -> None:
    kernel, passed = compiled_kernel(settings, VERSION), market(6)
    with fed(broker, passed) as wait:
        with running(settings, live_servers) as ingest:
            rows_pass(ingest, passed[0].recv_ns)
        s3.go_away_after(0, "GET")
        with running(settings, live_servers) as ingest:
            rows_pass(ingest, passed[0].recv_ns + 3 * SECOND_NS)
            assert ingest.status()["worker"]["log_is_away"] == 1
            newest = online_store_of(live_servers).read(["BTCUSDT"])[0]
            assert newest is not None
            assert newest.row_ns > passed[0].recv_ns
            s3.come_back()
            eventually(lambda: ingest.status()["worker"]["log_is_away"] == 0, deadline_s=60)
            wait()
            rows_pass(ingest, passed[-1].recv_ns + SECOND_NS)
            assert min(row_times(ingest).values()) > passed[-1].recv_ns
    check_all(settings, kernel, broker, passed, tmp_path / "replay")
