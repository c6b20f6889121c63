"""Backfills that are killed: ``python -m tests.killed_backfills DATABASE EXCHANGE ARCHIVE FOLDER SEED COUNT``.

Everything is imported and compiled once, then each backfill is a fork: one undisturbed, which counts the calls of our
own functions, then such that kill themselves at a call drawn by SEED until COUNT have, each followed by one that goes
on with what is there. Prints as JSON how many calls there are, and of each point the call and the files that are not
as undisturbed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import traceback
from contextlib import closing
from datetime import date
from pathlib import Path
from types import FrameType
from typing import Any, Final

from backfill.bybit.messages import MINUTE_MS, kline_messages
from backfill.bybit.rest import BybitHistory
from backfill.fetching import Place
from backfill.jobs import BackfillJobs
from backfill.request import BackfillRequest
from ingestion.venues.bybit.venue import BYBIT
from ingestion.venues.decoders import Decoders
from market.clock import DAY_NS, ManualClock, parse_iso_ns
from market.events import KLINE
from storage.database.backfill_jobs import BackfillStore
from storage.database.job_queue import JobQueue
from storage.instruments import InstrumentPins
from storage.raw.events import read_events
from storage.raw.parquet import write_events
from storage.raw.raw_data import RawData

SYMBOL: Final = "DOGEUSDT"
REQUEST: Final = BackfillRequest(
    SYMBOL, date(2025, 5, 31), date(2025, 6, 1), ("klines", "trades", "orderbook", "ticker", "funding")
)
_ROOT: Final = str(Path(__file__).resolve().parent.parent)
_OURS: Final = tuple(f"{_ROOT}/{package}/" for package in ("backfill", "ingestion", "storage"))


def files_of(folder: Path) -> dict[str, bytes]:
    """What a raw folder holds, without locks."""
    paths = (path for path in folder.rglob("*") if path.is_file() and ".backfilling" not in path.parts)
    kept = (path for path in paths if path.suffix != ".lock" and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


class _Killed:
    """Counts calls of our functions, and kills the process at one of them."""

    def __init__(self, at: int | None) -> None:
        self.calls = 0
        self._at = at

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(_OURS):
            self.calls += 1
            if self.calls == self._at:
                os.kill(os.getpid(), signal.SIGKILL)


def backfilled(arguments: list[str], folder: Path, job_id: str, at: int | None) -> int:
    """Do a job, or go on with it where it exists; how many calls it took, 0 where nothing counts them."""
    database, exchange, archive = arguments
    clock = ManualClock(parse_iso_ns("2025-07-01"))

    def place(_sleep: object) -> Place:
        rest = BybitHistory(exchange, clock, delay_ms=0, sleep=lambda _seconds: None)
        return Place(folder, InstrumentPins(folder), rest, archive, archive, clock)

    counted = _Killed(at)
    with closing(BackfillStore(database)) as store:
        queue = JobQueue(database, stalled_after_s=0)
        jobs = BackfillJobs(store, queue, place, make_id=lambda: job_id, most_days=5)
        if job_id in {record.job_id for record in store.newest()}:
            jobs.look(forgotten_after_s=0)
        else:
            jobs.start(REQUEST)
            threading.setprofile(counted)  # the worker's threads too
            sys.setprofile(counted)
        try:
            jobs.worker().run_until_empty()
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
        record = jobs.get(job_id)
        assert record.status == "completed", record
        jobs.close()
    return counted.calls


def _load(folder: Path) -> None:
    """Import, and load of compiled code, what decoding, writing and reading take: no fork then does it again."""
    pins = InstrumentPins(folder)
    [candle] = kline_messages(SYMBOL, [(str(MINUTE_MS), "0.2", "0.3", "0.1", "0.2", "10", "2")])
    decoded = Decoders(BYBIT, pins).decode(candle.body, candle.recv_ns)
    instrument = pins.get(SYMBOL)
    assert decoded is not None
    assert instrument is not None
    write_events(folder, instrument, decoded.stamped(candle.recv_ns, 0), part="loaded")
    read_events(RawData(folder), SYMBOL, kinds={KLINE}, from_ns=0, to_ns=DAY_NS)


def _forked(arguments: list[str], folder: Path, job_id: str, at: int | None = None) -> int | None:
    """The calls of a backfill in a process of its own, None of one that was killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.write(writing, str(backfilled(arguments, folder, job_id, at)).encode())
            status = 0
        except BaseException:  # noqa: BLE001  # told here: what a fork raises goes nowhere
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as told:
        text = told.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return None
    assert status == 0, f"a backfill failed, {folder}"
    return int(text)


def main() -> None:
    *arguments, folder, seed, count = sys.argv[1:]
    root = Path(folder)
    _load(root / "loaded")
    calls = _forked(arguments, root / "whole", "whole")
    assert calls is not None
    whole = files_of(root / "whole")
    draw = random.Random(int(seed))
    points: list[dict[str, Any]] = []
    while sum(point["was_killed"] for point in points) < int(count) and len(points) < 2 * int(count):
        number = len(points)
        at = draw.randrange(1, calls)
        killed, job_id = root / f"{number}", f"killed-{seed}-{number}"
        was_killed = _forked(arguments, killed, job_id, at) is None
        _forked(arguments, killed, job_id)
        found = files_of(killed)
        different = [name for name in sorted({*found, *whole}) if found.get(name) != whole.get(name)]
        points.append({"at": at, "was_killed": was_killed, "different": different})
        print(points[-1], file=sys.stderr, flush=True)
    print(json.dumps({"calls": calls, "files": len(whole), "points": points}))


if __name__ == "__main__":
    main()
