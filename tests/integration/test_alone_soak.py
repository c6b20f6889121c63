"""Ten minutes alone under a fast clock: hours of the market are compacted, verified, retired, and every row proven."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from statistics import median

import pytest

from ingestion.pipeline.served_rows import available_as_if_live
from ingestion.sources.played.play import play
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from market.clock import DAY_NS, SECOND_NS, SystemClock, utc_date
from runtime.servers import Servers
from runtime.settings import Settings
from runtime.upkeep import upkeep_store
from runtime.wiring import compiled_kernel, make_pipeline
from storage.raw.manifest import RawPart
from storage.raw.raw_data import RawData
from tests.hurried import SYMBOL, VERSION, Changes, Process, command, eventually, servers, settings
from upkeep.tasks import PERIODS

__all__ = ["servers", "settings"]  # fixtures

SOAK_S = float(os.environ.get("FEATURE_SERVICE_SOAK_S", "600"))
SPEED = 10.0
SEGMENT_S = 600
"""Every minute of the machine ends a segment."""
SEGMENTS = {"FEATURE_SERVICE_TAPE_SEGMENT_SECONDS": str(SEGMENT_S)}
OLD_DAYS = (6, 5)
SAMPLE_S = 5.0
WARM_SHARE = 0.4
"""Of the time: buffers, windows and caches are full after it."""


@pytest.fixture
def changes() -> Changes:
    return SEGMENTS


def sample(pid: int) -> tuple[float, int]:
    """Megabytes that the process holds, and its open files."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.mark.soak
def test_a_service_left_alone_for_hours_of_the_market_keeps_itself_and_every_row_is_proven(
    settings: Settings, servers: Servers
) -> None:
    now_ns = SystemClock().now_ns()
    for days in OLD_DAYS:
        pipeline = make_pipeline(settings, compiled_kernel(settings, VERSION), availability=available_as_if_live)
        start_ns = now_ns - days * DAY_NS
        play(pipeline, simulate(DEFAULT_SYMBOLS[:1], seed=days, start_ns=start_ns, duration_ns=5 * SECOND_NS))
        pipeline.close()
    process = Process(settings, "api,ingest,jobs", speed=SPEED, changes=SEGMENTS)
    samples = []
    pause = threading.Event()

    def live_parts() -> list[RawPart]:
        parts = RawData(settings.raw_folder).parts(SYMBOL)
        return [part for part in parts if part.last_ns >= now_ns]

    try:
        eventually(live_parts, [process], pause_s=0.5)
        end_s = time.monotonic() + SOAK_S
        while time.monotonic() < end_s:
            pause.wait(SAMPLE_S)
            assert process.running.poll() is None, process.log.read_text()[-4000:]
            samples.append(sample(process.running.pid))
        with upkeep_store(servers) as store:
            states = {state.task: state for state in store.states()}
        process.stop()
    finally:
        process.kill()
    assert set(states) == set(PERIODS)
    assert {name for name, state in states.items() if state.succeeded_at is None} == set()
    assert {name: state.error for name, state in states.items() if state.failures} == {}
    parts, live = RawData(settings.raw_folder).parts(SYMBOL), live_parts()
    assert len(live) >= SOAK_S * SPEED / SEGMENT_S - 2
    assert utc_date(now_ns - OLD_DAYS[0] * DAY_NS) not in {utc_date(part.last_ns) for part in parts}
    _assert_flat(samples)
    code, (checked,) = command(settings, "verify", "tape")
    assert (code, checked["damages"]) == (0, 0)
    code, parity = command(settings, "verify", "parity", "--registry", VERSION)
    assert parity["compared"] >= SOAK_S * SPEED / 2
    assert (code, parity["mismatched"], parity["missing"], parity["extra"]) == (0, 0, 0, 0)
    code, shadow = command(settings, "shadow", "status")
    [state] = shadow["symbols"]
    assert (code, state["mismatched"], shadow["mismatches"]) == (0, 0, [])
    print(f"rows {parity['compared']}, shadow {state}, parts {len(live)}, MB and files {samples[0]} to {samples[-1]}")


def _assert_flat(samples: list[tuple[float, int]]) -> None:
    """The last third holds no more than the time after the beginning did, but for what collectors leave lying."""
    warm = samples[int(len(samples) * WARM_SHARE) :]
    half = len(warm) // 2
    early, late = ([median(each) for each in zip(*part, strict=True)] for part in (warm[:half], warm[half:]))
    told = [f"{megabytes:.0f} MB {files}" for megabytes, files in samples[:: max(1, len(samples) // 20)]]
    assert late[0] <= early[0] * 1.1 + 20, told
    assert late[1] <= early[1] + 8, told
