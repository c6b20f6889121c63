"""A live worker whose feature log and raw data are in an object store that goes away: it goes on, and all is there."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from ingestion.sinks import row_log
from market.clock import SECOND_NS
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.stores import open_stores
from runtime.wiring import compiled_kernel
from storage.features.log import FeatureLog
from storage.objects import reach
from tests.broker import Broker
from tests.live import SYMBOLS, VERSION, LiveIngest, eventually, online_store_of, running
from tests.live_market import all_taped, check_all, fed, market, row_times, rows_pass
from tests.s3_server import FaultProxy, new_object_place
from training_sets.builds.verification import verify_parity
from transforms.kernel import Kernel

pytestmark = pytest.mark.soak


@pytest.fixture
def settings(ingest_settings: Settings, s3: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of a worker that asks an absent store again soon."""
    monkeypatch.setattr(row_log, "RETRY_S", 0.1)
    monkeypatch.setattr(reach, "RETRY_S", 0.1)
    stores = {
        "feature_log_storage_path": new_object_place(),
        "raw_data_storage_path": new_object_place(),
    }
    return ingest_settings.model_copy(update=stores)


def keep_checkpoints(ingest: LiveIngest) -> None:
    """Now, and not once in a minute."""
    worker = ingest.role._worker
    assert worker is not None
    worker.keep_checkpoints()


def begin(ingest: LiveIngest, settings: Settings, kernel: Kernel) -> None:
    """Wait until the log has rows of both symbols."""
    keep_checkpoints(ingest)
    log = FeatureLog(settings.feature_log_storage_path)
    eventually(lambda: all(log.last_served_row_ns(symbol, kernel.feature_set) for symbol in SYMBOLS))


def worker(ingest: LiveIngest, name: str) -> float:
    return float(ingest.status()["worker"][name])


def newest_row(ingest: LiveIngest) -> int:
    return max(row_times(ingest).values())


def check_parity(settings: Settings, kernel: Kernel) -> None:
    stores = open_stores(settings)
    found = verify_parity(stores.raw, stores.features, kernel)
    assert (found.mismatched, found.missing, found.extra, found.not_compared) == (0, 0, 0, ())
    assert found.compared > 10


@pytest.mark.parametrize("room", [row_log.MOST_ROWS, 3], ids=["rows wait in memory", "rows are left out"])
def test_rows_go_on_while_the_store_is_away_and_are_all_there_once_it_is_back(
    settings: Settings,
    live_servers: Servers,
    broker: Broker,
    s3: FaultProxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    room: int,
) -> None:
    monkeypatch.setattr(row_log, "MOST_ROWS", room)
    kernel, passed = compiled_kernel(settings, VERSION), market(8)
    with running(settings, live_servers) as ingest, fed(broker, passed) as wait:
        rows_pass(ingest, passed[0].recv_ns)
        begin(ingest, settings, kernel)
        s3.go_away_after(0, "GET")
        keep_checkpoints(ingest)
        eventually(lambda: worker(ingest, "log_is_away") == 1)
        rows_pass(ingest, newest_row(ingest) + 3 * SECOND_NS)
        eventually(lambda: worker(ingest, "log_symbols_left_out") == (2 if room == 3 else 0))
        s3.come_back()
        eventually(lambda: worker(ingest, "log_is_away") == worker(ingest, "log_symbols_left_out") == 0)
        wait()
        all_taped(settings, passed)
        rows_pass(ingest, time.time_ns() + SECOND_NS)
        assert worker(ingest, "log_outages_total") == 1
    check_all(settings, kernel, broker, passed, tmp_path / "replay")
    check_parity(settings, kernel)
    told = [each.getMessage() for each in caplog.records if each.name == row_log.__name__]
    assert [re.split(r",| after", each)[0] for each in told] == [
        "the object store of the feature log is down",
        "the object store of the feature log is back",
    ]


def test_a_worker_that_is_stopped_while_the_store_is_away_ends_and_the_next_one_writes_its_rows(
    settings: Settings,
    live_servers: Servers,
    broker: Broker,
    s3: FaultProxy,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    kernel, passed = compiled_kernel(settings, VERSION), market(4)
    with running(settings, live_servers) as ingest, fed(broker, passed):
        rows_pass(ingest, passed[0].recv_ns)
        begin(ingest, settings, kernel)
        s3.go_away_after(0, "GET")
        keep_checkpoints(ingest)
        eventually(lambda: worker(ingest, "log_is_away") == 1)
        all_taped(settings, passed)
        rows_pass(ingest, time.time_ns() + SECOND_NS)
    assert "are on the tape: the next start writes them" in caplog.text
    s3.come_back()
    with running(settings, live_servers) as ingest:
        rows_pass(ingest, passed[-1].recv_ns + SECOND_NS)
    check_all(settings, kernel, broker, passed, tmp_path / "replay")
    check_parity(settings, kernel)


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
            assert worker(ingest, "log_is_away") == 1
            newest = online_store_of(live_servers).read(["BTCUSDT"])[0]
            assert newest is not None
            assert newest.row_ns > passed[0].recv_ns
            s3.come_back()
            eventually(lambda: worker(ingest, "log_is_away") == 0)
            wait()
            rows_pass(ingest, passed[-1].recv_ns + SECOND_NS)
            assert min(row_times(ingest).values()) > passed[-1].recv_ns
    check_all(settings, kernel, broker, passed, tmp_path / "replay")
    check_parity(settings, kernel)
