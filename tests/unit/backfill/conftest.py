"""An exchange that has a symbol's recorded days and an archive, and the place that they are fetched to."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from backfill.bybit.rest import BybitHistory
from backfill.fetching import Place
from market.clock import MINUTE_NS, SECOND_NS, ManualClock, parse_iso_ns
from storage.instruments import InstrumentPins
from tests.backfilled_days import BEGIN_NS, DOGE
from tests.bybit_rest import BybitHistoryServer, History, recorded_klines


@pytest.fixture(scope="module")
def server(recorded_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BybitHistoryServer]:
    rows = recorded_klines(recorded_data / "klines" / "DOGEUSDT_1m.csv.gz", last=2500)
    marks = [row[:5] for row in rows]
    fundings = [(str((BEGIN_NS + hours * 3600 * SECOND_NS) // 10**6), "0.0001") for hours in (0, 8, 16)]
    interest = [(str((BEGIN_NS + minutes * MINUTE_NS) // 10**6), "5000000.5") for minutes in range(0, 1440, 5)]
    known = History(klines=rows, marks=marks, indices=marks, fundings=fundings, interest=interest)
    archive = tmp_path_factory.mktemp("archive")
    shutil.copy(recorded_data / "bybit" / "2024-12-01_XRPUSDT_ob500.data.zip", archive)
    with BybitHistoryServer({DOGE: known}, archive=archive) as running:
        yield running


@pytest.fixture
def place(server: BybitHistoryServer, tmp_path: Path) -> Iterator[Place]:
    clock = ManualClock(parse_iso_ns("2025-07-01"))
    rest = BybitHistory(server.url, clock, delay_ms=0, sleep=lambda _seconds: None)
    raw = tmp_path / "raw"
    archive = f"{server.url}/archive"
    yield Place(raw, InstrumentPins(raw), rest, archive, archive, clock)
    rest.close()
