"""A whole exchange on one worker for minutes: nothing lost, nothing twice, flat memory, and every row proven.

The rate that was carried is printed, not judged: it depends on the machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from market.clock import SystemClock, to_datetime
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.wiring import metadata_store
from storage.database.ingest_workers import living_workers
from tests.hurried import ROOT, Changes, command, servers, settings
from tests.loud_exchange import Sent, loud_exchange, symbols
from tests.waiting import eventually

__all__ = ["servers", "settings"]  # fixtures

SYMBOLS = symbols(int(os.environ.get("FEATURE_SERVICE_SOAK_SYMBOLS", "50")))
RATE = float(os.environ.get("FEATURE_SERVICE_SOAK_RATE", "40"))
"""Messages a second of each symbol."""
SOAK_S = float(os.environ.get("FEATURE_SERVICE_SOAK_S", "60"))
VERSION = "2.0.0"
SLOWEST = 5.0
"""Times the asked time, after which the worker is given up."""
SAMPLE_S = 1.0
WARM_SHARE = 0.4
"""Of the time: buffers, windows and caches are full after it."""
DEADLINE_S = 180.0
STOP_S = 900.0


@pytest.fixture
def changes() -> Changes:
    return {
        "FEATURE_SERVICE_SYMBOLS": ",".join(SYMBOLS),
        "FEATURE_SERVICE_ROW_GRID": "500ms",
        "FEATURE_SERVICE_TAPE_SEGMENT_SECONDS": "3600",
        "FEATURE_SERVICE_BACKFILL_AUTO": "false",
    }


def started(settings: Settings, url: str, changes: Changes) -> subprocess.Popen[bytes]:
    taken_over = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    environment = taken_over | {
        **changes,
        "PYTHONPATH": str(ROOT),
        "FEATURE_SERVICE_DATA_PATH": str(settings.feature_service_data_path),
        "FEATURE_SERVICE_CACHE_PATH": str(settings.feature_service_cache_path),
        "BYBIT_STREAM_URL": url,
    }
    run = ["run", "--roles", "ingest", "--source", "bybit", "--registry", VERSION]
    with log_of(settings).open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-c", "from runtime.cli import main; main()", *run],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
        )


def log_of(settings: Settings) -> Path:
    return settings.feature_service_data_path / "ingest.log"


def status(servers: Servers) -> dict[str, Any]:
    """Of the worker, as of its last heartbeat; empty before the first."""
    with metadata_store(servers) as metadata:
        workers = living_workers(metadata, to_datetime(SystemClock().now_ns()))
    return dict(workers[0].status) if workers else {}


def total(found: dict[str, Any], name: str) -> int:
    return sum(each[name] for each in found.get("symbols", {}).values())


def sample(pid: int) -> tuple[float, float]:
    """Megabytes that the process holds, and the processor seconds that it has taken."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.soak
def test_a_whole_exchange_is_carried_without_a_loss_in_flat_memory_and_every_row_is_proven(
    settings: Settings, servers: Servers, changes: Changes
) -> None:
    samples: list[tuple[float, float]] = []
    with loud_exchange(SYMBOLS, rate=RATE, seconds=SOAK_S) as exchange:
        worker = started(settings, exchange.url, changes)
        try:
            eventually(lambda: worker.poll() is not None or status(servers), deadline_s=DEADLINE_S)
            given_up_s = time.monotonic() + DEADLINE_S + SLOWEST * SOAK_S
            while not exchange.is_done(SAMPLE_S):
                assert worker.poll() is None, log_of(settings).read_text()[-4000:]
                assert time.monotonic() < given_up_s, f"only {total(status(servers), 'messages')} messages were taken"
                samples.append(sample(worker.pid))
            sent = exchange.sent()
            eventually(
                lambda: total(status(servers), "messages") >= sent.messages,
                deadline_s=DEADLINE_S,
            )
            found = status(servers)
            worker.terminate()
            assert worker.wait(STOP_S) == 0, log_of(settings).read_text()[-4000:]
        finally:
            worker.kill()
            worker.wait()
    _tell(sent, found, samples)
    for name in ("rejected", "gaps", "duplicates", "redelivered", "ignored", "lost"):
        assert total(found, name) == 0, name
    assert {each["messages"] for each in found["symbols"].values()} == {sent.messages // len(SYMBOLS)}
    code, _ = command(settings, "tape", "compact", changes=changes)
    assert code == 0
    code, taped = command(settings, "verify", "tape", changes=changes)
    assert code == 0
    assert sum(each["damages"] + each["book_gaps"] for each in taped) == 0
    code, parity = command(settings, "verify", "parity", "--registry", VERSION, changes=changes)
    print({name: parity[name] for name in ("compared", "ticks_recorded", "ticks_compared", "oracle")})
    assert (code, parity["mismatched"], parity["missing"], parity["extra"]) == (0, 0, 0, 0)
    assert parity["not_compared"] == []
    assert parity["compared"] >= len(SYMBOLS) * (SOAK_S - 1)
    _assert_flat(samples)


def _tell(sent: Sent, found: dict[str, Any], samples: list[tuple[float, float]]) -> None:
    cpu_s = samples[-1][1] - samples[0][1]
    rows = found["worker"]["rows_total"] + found["worker"]["tick_rows_total"]
    print(
        f"\n{len(SYMBOLS)} symbols: {sent.messages} messages in {sent.seconds:.1f} s, "
        f"{sent.messages / sent.seconds:.0f} a second carried of {RATE * len(SYMBOLS):.0f}, "
        f"the latest after {sent.late_s:.2f} s\n"
        f"worker: {cpu_s / (len(samples) - 1) / SAMPLE_S:.2f} cores, {cpu_s / sent.messages * 1e6:.1f} us a message, "
        f"{rows} rows, {found['worker']['skipped_ticks_total']} ticks left out, {total(found, 'late')} late; "
        f"sender: {sent.cpu_s / sent.seconds:.2f} cores\n"
        f"memory MB: {' '.join(f'{megabytes:.0f}' for megabytes, _ in samples[:: max(1, len(samples) // 20)])}\n"
        f"stages: {found['stages']}\nslowest steps: {found['row_traces']['slowest']}"
    )


def _assert_flat(samples: list[tuple[float, float]]) -> None:
    """The last part holds no more than the one after the beginning did, but for what collectors leave lying."""
    warm = [megabytes for megabytes, _ in samples[int(len(samples) * WARM_SHARE) :]]
    half = len(warm) // 2
    early, late = median(warm[:half]), median(warm[half:])
    assert late <= early * 1.1 + 20, [f"{each:.0f}" for each in warm[:: max(1, len(warm) // 20)]]
