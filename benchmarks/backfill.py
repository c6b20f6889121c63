"""Missing history: a dataset of months on an empty data folder, and a day of an archive's order book."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np

from backfill.bybit.rest import BybitHistory
from backfill.days import backfill_day
from backfill.fetching import Place, SymbolDay
from benchmarks.measure import KERNEL_CACHE, REPEATS, Figure, in_child, seconds
from feature_repo.registry_versions import load_registry_version
from market.clock import DAY_NS, MILLISECOND_NS, SystemClock, parse_iso_ns, utc_date
from storage.features.log import FeatureLog
from storage.instruments import InstrumentPins
from storage.raw.raw_data import RawData
from tests.bybit_rest import MINUTE_MS, BybitHistoryServer, History
from tests.commands import PROGRAM
from training_sets.rebuild.days import DayRange, rebuild_days
from training_sets.rebuild.due_days import Rebuild

SYMBOL: Final = "BTCUSDT"
VERSION: Final = "1.2.0"
BOOK_VERSION: Final = "2.0.0"
DAYS: Final = 60
PAUSE_S: Final = 0.1
"""What the settings leave between two requests unless they say otherwise: the pace that the exchange asks for."""
_SEED: Final = 11
_BOOK_HOURS: Final = 1
_LEVELS: Final = 500


def run(folder: Path) -> Iterator[Figure]:
    yield _dataset()
    yield in_child(_book_day, folder / "backfill")


def _dataset() -> Figure:
    """One command of the service, its own servers included; the exchange is a process of its own."""
    end_ns = parse_iso_ns(utc_date(SystemClock().now_ns())) - 2 * DAY_NS
    start_ns = end_ns - DAYS * DAY_NS
    with TemporaryDirectory(prefix="fs-") as data, _exchange(start_ns - 2 * DAY_NS, DAYS + 3) as (url, counted):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("POSTGRES_")} | {
            "FEATURE_SERVICE_DATA_PATH": data,
            "BYBIT_REST_URL": url,
            "FEATURE_SERVICE_BACKFILL_AUTO": "true",
            "FEATURE_SERVICE_BACKFILL_RATE_LIMIT_DELAY_MS": "0",
        }
        command = [
            sys.executable, *PROGRAM, "dataset", "build", "--symbol", SYMBOL, "--from", utc_date(start_ns),
            "--to", utc_date(end_ns), "--registry", VERSION, "--sample-interval", "1m", "--horizon", "5m", "--json",
        ]  # fmt: skip
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        told: list[subprocess.CompletedProcess[str]] = []
        whole_s = seconds(
            lambda: told.append(
                subprocess.run(command, env=environment, cwd=data, capture_output=True, text=True, check=False)
            )
        )
        if told[0].returncode:
            raise RuntimeError(told[0].stderr)
        requests, answering_s = counted()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    document: dict[str, Any] = json.loads(told[0].stdout)
    return Figure(
        f"backfill: a dataset of {DAYS} days on an empty data folder, one command, seconds of the processor",
        used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime,
        "s",
        "lower",
        yardstick="the exchange's pace, a request each 100 ms",
        yardstick_value=requests * PAUSE_S,
        goal="<= 30",
        details={
            "whole_s": whole_s,
            "answering_s": answering_s,
            "requests": requests,
            "train_records": document["train_records"],
        },
    )


@contextmanager
def _exchange(first_ns: int, days: int) -> Iterator[tuple[str, Callable[[], tuple[int, float]]]]:
    """An exchange in a process of its own; its address, and what it tells: requests, seconds of its processor."""
    spawn = get_context("spawn")
    ours, its = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(its, first_ns, days), daemon=True)
    process.start()

    def counted() -> tuple[int, float]:
        ours.send(None)
        requests, answering_s = ours.recv()
        return requests, answering_s

    try:
        yield ours.recv(), counted
    finally:
        process.terminate()
        process.join()


def _serve(told: Connection, first_ns: int, days: int) -> None:
    history = _history(first_ns // MILLISECOND_NS, days * 1440)
    with BybitHistoryServer({SYMBOL: history}) as server:
        begun_s = time.process_time()
        told.send(server.url)
        told.recv()
        told.send((len(server.asked), time.process_time() - begun_s))
        told.recv()


def _history(first_ms: int, minutes: int) -> History:
    """Candles of a walk, prices of ticks, and the related data."""
    generator = np.random.default_rng(_SEED)
    closes = np.round(95_000.0 * np.exp(np.cumsum(generator.standard_normal(minutes) * 4e-4)), 1)
    opens = np.concatenate([[95_000.0], closes[:-1]])
    highs, lows = np.maximum(opens, closes), np.minimum(opens, closes)
    volumes = generator.integers(1, 100, minutes)
    times = [str(first_ms + minute * MINUTE_MS) for minute in range(minutes)]
    prices = [[f"{value:.1f}" for value in column] for column in (opens, highs, lows, closes)]
    klines = list(zip(times, *prices, map(str, volumes), map(str, volumes * 95_000), strict=True))
    marks = [row[:5] for row in klines]
    return History(
        klines=klines,
        marks=marks,
        indices=marks,
        fundings=[(at, "0.0001") for at in times[::480]],
        interest=[(at, f"{50_000 + minute % 97}.5") for minute, at in enumerate(times[::5])],
    )


def _book_day(folder: Path) -> Figure:
    """An order book of the archive into raw Parquet, against the rebuild of its features from there."""
    _stored_and_rebuilt(folder / "loaded", 100)  # what is imported and loaded once is no work of a day
    levels, times = 0, []
    for repeat in range(REPEATS):
        levels, *seconds_each = _stored_and_rebuilt(folder / f"measured-{repeat}", _BOOK_HOURS * 36_000)
        times.append(seconds_each)
    backfill_s, rebuild_s = (median(each) for each in zip(*times, strict=True))
    return Figure(
        "backfill: level updates of an archived order book, file to raw Parquet, a second of the processor",
        levels / backfill_s / 1e6,
        "M/s",
        "higher",
        yardstick=f"from there to the feature log, registry {BOOK_VERSION}",
        yardstick_value=levels / rebuild_s / 1e6,
        goal="ratio >= 1",
        details={"levels": levels, "hours": _BOOK_HOURS, "backfill_s": backfill_s, "rebuild_s": rebuild_s},
    )


def _stored_and_rebuilt(folder: Path, messages: int) -> tuple[int, float, float]:
    """Levels of an archive of so many messages, and seconds of the processor to store them, then to rebuild them."""
    folder.mkdir(parents=True)
    day = utc_date(parse_iso_ns("2026-01-01"))
    levels = _write_archive(folder, day, messages)
    raw, clock = folder / "raw", SystemClock()
    rest = BybitHistory("http://localhost:1", clock)
    place = Place(raw, InstrumentPins(raw), rest, str(folder), str(folder), clock)
    begun_s = time.process_time()
    backfill_day(place, SymbolDay(SYMBOL, "orderbook", day))
    stored_s = time.process_time()
    chosen = load_registry_version(BOOK_VERSION).feature_set
    rebuild = Rebuild(RawData(raw), FeatureLog(folder / "features"), KERNEL_CACHE, SYMBOL, chosen)
    for _ in rebuild_days([DayRange(rebuild)]):
        pass
    return levels, stored_s - begun_s, time.process_time() - stored_s


def _write_archive(folder: Path, day: str, count: int) -> int:
    """Ten messages a second of forty levels each, after a whole book, as the exchange writes them; how many levels."""
    generator = np.random.default_rng(_SEED)
    start_ms = parse_iso_ns(day) // MILLISECOND_NS
    distances = generator.integers(0, _LEVELS, (count, 2, 20))
    sizes = generator.integers(1, 10_000, (count, 2, 20))

    def message(kind: str, at: int, sides: list[list[list[str]]]) -> str:
        ts = start_ms + 100 * at
        data = {"s": SYMBOL, "b": sides[0], "a": sides[1], "u": 1000 + at, "seq": 5000 + 3 * at}
        topic = f"orderbook.500.{SYMBOL}"
        return json.dumps({"topic": topic, "type": kind, "ts": ts, "data": data, "cts": ts - 5}, separators=(",", ":"))

    def level(side: int, distance: int, size: int) -> list[str]:
        tick = 950_000 - distance if side == 0 else 950_001 + distance
        return [f"{tick // 10}.{tick % 10}", f"{size / 1000:.3f}"]

    lines = [message("snapshot", 0, [[level(side, each, 1000 + each) for each in range(_LEVELS)] for side in (0, 1)])]
    for at in range(1, count):
        sides = [
            [level(side, int(d), int(q)) for d, q in zip(distances[at, side], sizes[at, side], strict=True)]
            for side in (0, 1)
        ]
        lines.append(message("delta", at, sides))
    path = folder / f"{day}_{SYMBOL}_ob500.data.zip"
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        archive.writestr(path.name.removesuffix(".zip"), "\r\n".join(lines) + "\r\n")
    return 2 * _LEVELS + (count - 1) * 40
