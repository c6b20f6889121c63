"""A lived day whose hole history fills is a revision: who reads as of before still finds what was known then."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pytest

from backfill.bybit.rest import BybitHistory
from backfill.days import backfill_day
from backfill.fetching import Place, SymbolDay
from feature_repo.registry_versions import load_registry_version
from feature_repo.store import retrieve
from ingestion.messages import TimedMessage
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from ingestion.tape.compaction import compact_tape
from market.clock import DAY_NS, MILLISECOND_NS, SECOND_NS, ManualClock, parse_iso_ns
from storage.features.log import FeatureLog, FeatureLogWriter
from storage.instruments import InstrumentPins
from storage.places import local
from storage.raw.raw_data import RawData
from storage.tape import TapeWriter
from tests.build_places import offline_store
from training_sets.rebuild.days import DayRange, rebuild_days
from training_sets.rebuild.due_days import Rebuild
from training_sets.rebuild.rebuild import rebuild_rows
from transforms.kernel import compile_kernel
from transforms.rows import FeatureRows

SYMBOL: Final = "BTCUSDT"
DATE: Final = "2026-01-05"
START_NS: Final = parse_iso_ns(f"{DATE}T12:00:00")
DURATION_S: Final = 440
HOLE_NS: Final = START_NS + 30 * SECOND_NS, START_NS + 100 * SECOND_NS
LONGEST_WINDOW_NS: Final = 310 * SECOND_NS
REPAIRED_NS: Final = START_NS + 2 * DAY_NS
CHOSEN: Final = load_registry_version("1.0.0").feature_set


def is_lost(message: TimedMessage) -> bool:
    return b'"publicTrade.' in message.body and HOLE_NS[0] <= message.recv_ns < HOLE_NS[1]


def write_tape(raw: Path, messages: list[TimedMessage]) -> None:
    """Some minutes in which the recorder lost the trades of 70 seconds."""
    pins = InstrumentPins(raw)
    pins.pin(SYMBOL, "65000.5")
    with TapeWriter(raw, SYMBOL) as writer:
        for message in messages:
            if not is_lost(message):
                writer.append(message.recv_ns, message.body)
    compact_tape(raw, SYMBOL, pins)


def place_with_archive(folder: Path, raw: Path, messages: list[TimedMessage]) -> Place:
    trades = [
        trade for message in messages if b'"publicTrade.' in message.body for trade in json.loads(message.body)["data"]
    ]
    header = "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional"
    lines = [
        f"{each['T'] // 1000}.{each['T'] % 1000:03d}0,{SYMBOL},{each['S']},{each['v']},{each['p']},x,{each['i']},1,1,1"
        for each in trades
    ]
    folder.mkdir()
    (folder / f"{SYMBOL}{DATE}.csv.gz").write_bytes(gzip.compress("\n".join([header, *lines]).encode()))
    clock = ManualClock(REPAIRED_NS)
    # Nothing listens there: trades come from the archive.
    rest = BybitHistory("http://127.0.0.1:1", clock, delay_ms=0)
    return Place(raw, InstrumentPins(raw), rest, str(folder), str(folder), clock)


@pytest.mark.parametrize("is_served", [False, True])
def test_reads_as_of_before_a_repair_give_what_was_known_and_reads_after_it_the_repaired_rows(
    tmp_path: Path, kernel_cache: Path, *, is_served: bool
) -> None:
    raw, log = tmp_path / "raw", FeatureLog(tmp_path / "features")
    messages = [*simulate(DEFAULT_SYMBOLS[:1], seed=4, start_ns=START_NS, duration_ns=DURATION_S * SECOND_NS)]
    write_tape(raw, messages)
    rebuild = Rebuild(RawData(raw), log, kernel_cache, SYMBOL, CHOSEN, clock=ManualClock(START_NS + DAY_NS))
    if is_served:
        rows = rebuild_rows(rebuild.raw, SYMBOL, compile_kernel(CHOSEN, kernel_cache))
        with FeatureLogWriter(log.folder) as writer:
            writer.append(rows, rows.row_ns + 5 * MILLISECOND_NS)
    else:
        assert [day.rows > 0 for day in rebuild_days([DayRange(rebuild)])] == [True]
    store = offline_store(tmp_path, local(log.folder))
    asked_ns = [
        *range(START_NS + 2 * SECOND_NS, START_NS + (DURATION_S - 1) * SECOND_NS, 3 * SECOND_NS),
        START_NS + DAY_NS,
    ]

    def as_of() -> pd.DataFrame:
        entities = pd.DataFrame({"symbol": SYMBOL, "event_timestamp": pd.to_datetime(asked_ns, utc=True)})
        return retrieve(store, CHOSEN, entities)

    def newest() -> tuple[FeatureRows, np.ndarray[tuple[int], np.dtype[np.int64]]]:
        return log.read(SYMBOL, CHOSEN, from_ns=None, to_ns=None)

    before, (known, known_ns) = as_of(), newest()
    repair = place_with_archive(tmp_path / "archive", raw, messages)
    assert backfill_day(repair, SymbolDay(SYMBOL, "trades", DATE)).is_stored
    rebuild = replace(rebuild, clock=ManualClock(REPAIRED_NS))
    assert [day.rows > 0 for day in rebuild_days([DayRange(rebuild)])] == [True]

    pd.testing.assert_frame_equal(as_of(), before, check_exact=True)
    found, found_ns = newest()
    # History of trades begins at midnight: there are rows before the first that was lived, of which nothing was known.
    is_lived = np.isin(found.row_ns, known.row_ns)
    rows = replace(found, row_ns=found.row_ns[is_lived], values=found.values[is_lived], status=found.status[is_lived])
    created_ns = found_ns[is_lived]
    assert np.array_equal(rows.row_ns, known.row_ns)
    is_other = (rows.values.view(np.int64) != known.values.view(np.int64)).any(axis=1)
    is_other |= (rows.status != known.status).any(axis=1)
    of_hole = (rows.row_ns > HOLE_NS[0] + SECOND_NS) & (rows.row_ns <= HOLE_NS[1])
    assert is_other[of_hole].any()
    assert not is_other[rows.row_ns > HOLE_NS[1] + LONGEST_WINDOW_NS].any()
    assert np.array_equal(created_ns, np.where(is_other, REPAIRED_NS, known_ns))
    # The revision is what the raw data gives now, to the bit, and stands: it is not made a second time.
    now = rebuild_rows(RawData(raw), SYMBOL, compile_kernel(CHOSEN, kernel_cache))
    assert np.array_equal(found.values.view(np.int64), now.values.view(np.int64))
    assert [day.rows for day in rebuild_days([DayRange(rebuild)])] == [0]
