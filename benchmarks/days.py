"""Days: a busy symbol rebuilt day by day, in few sizes so that growth shows, and sixty days of klines."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.measure import KERNEL_CACHE, Figure, in_child, peak_rss_mb, seconds, use_one_core
from benchmarks.tape import INSTRUMENT, SYMBOL, decoded, level_updates
from feature_repo.registry_versions import load_registry_version
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from market.clock import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS, parse_iso_ns
from market.events import (
    CONFIRMED,
    FIRST,
    KLINE,
    KLINE_FIELD_COUNT,
    NEXT_FUNDING,
    TICKER,
    VOLUME,
    Events,
    empty_events,
    mark_message,
)
from storage.features.log import FeatureLog
from storage.raw.manifest import RawPart
from storage.raw.parquet import write_events
from storage.raw.raw_data import RawData
from storage.retention.raw import delete_parts
from training_sets.engines.pool import Pool
from training_sets.rebuild.days import DayRange, rebuild_days
from training_sets.rebuild.due_days import Rebuild
from transforms.catalogue import feature_set
from transforms.kernel import compile_kernel
from transforms.rows import FeatureSet

VERSION: Final = "2.0.0"
SIZES: Final = (1, 2, 4)
MONTH: Final = (30,)
BATCH_DAYS: Final = 7
"""Generated, then rebuilt in one run: a gigabyte of raw Parquet."""
KLINE_DAYS: Final = 60
KLINE_GROUPS: Final = ("temporal", "technical", "candles")
_BEGIN_NS: Final = parse_iso_ns("2026-01-05")
_SEED: Final = 7
_ACTIVITY: Final = 4.0
"""Five hundred level updates a second, fifty a message."""
_SLICE_NS: Final = 10 * MINUTE_NS
_FRAME_BYTES: Final = 24


@dataclass(frozen=True, slots=True)
class Written:
    """What a day holds: level updates, messages, and their bytes as they came."""

    levels: int
    messages: int
    wire_bytes: int


@dataclass(frozen=True, slots=True)
class _Done:
    rows: int
    rebuild_s: float
    peak_mb: float


def run(folder: Path, sizes: Sequence[int] = SIZES, *, hours: int = 24) -> Iterator[Figure]:
    """hours: of each day that hold messages; less than 24 for a try."""
    alone: Figure | None = None
    for days in sizes:
        figure = _size(folder / f"days-{days}", days, hours=hours)
        yield figure
        peak_mb = float(figure.details["peak_rss_mb"])
        if alone is None:
            alone = figure
            continue
        yield Figure(
            f"days: peak memory of {days} days",
            peak_mb,
            "MB",
            "lower",
            yardstick=f"of {alone.details['days']} day",
            yardstick_value=float(alone.details["peak_rss_mb"]),
            goal="ratio 1",
        )
    if sizes == SIZES:
        yield in_child(_klines, folder / "klines", KLINE_DAYS)


def run_month(folder: Path) -> Iterator[Figure]:
    """A month, generated and rebuilt a week at a time: a quarter of an hour, and some gigabytes."""
    yield from run(folder, MONTH)


def _size(folder: Path, days: int, *, hours: int) -> Figure:
    """Days written and rebuilt, a batch after the other; raw days that no later one reaches back to are deleted."""
    spawn = get_context("spawn")
    written: list[Written] = []
    done: list[_Done] = []
    parquet_bytes = 0
    with ProcessPoolExecutor(1, mp_context=spawn) as writing, ProcessPoolExecutor(1, mp_context=spawn) as rebuilding:
        rebuilding.submit(_begin, folder).result()
        for first in range(0, days, BATCH_DAYS):
            batch = range(first, min(first + BATCH_DAYS, days))
            for day in batch:
                written.append(writing.submit(write_day, folder / "raw", day, hours).result())
                parquet_bytes += sum(
                    file.size for part in _parts_of(RawData(folder / "raw"), day) for file in part.files
                )
            done.append(rebuilding.submit(_rebuild_batch, folder, batch).result())
    levels, messages = sum(day.levels for day in written), sum(day.messages for day in written)
    rebuild_s = sum(day.rebuild_s for day in done)
    return Figure(
        f"days: {days} of a busy symbol, raw Parquet to feature log",
        levels / rebuild_s / 1e6,
        "M level updates/s",
        "higher",
        goal=">= 10",
        details={
            "days": days,
            "levels": levels,
            "levels_a_second": levels / (days * hours * HOUR_NS / SECOND_NS),
            "rows": sum(day.rows for day in done),
            "rebuild_s": rebuild_s,
            "month_min": rebuild_s / days * 30 / 60 * 24 / hours,
            "parquet_bytes_a_message": parquet_bytes / messages,
            "parquet_bytes_a_level": parquet_bytes / levels,
            "tape_bytes_a_message": sum(day.wire_bytes for day in written) / messages + _FRAME_BYTES,
            "peak_rss_mb": max(day.peak_mb for day in done),
        },
    )


@cache
def _slice() -> tuple[Events, int]:
    """Ten minutes of event records in tape order, and the bytes of their messages."""
    messages = simulate(
        DEFAULT_SYMBOLS[:1],
        seed=_SEED,
        start_ns=_BEGIN_NS,
        duration_ns=_SLICE_NS,
        mean_activity=_ACTIVITY,
    )
    taken = list(messages)
    return decoded(taken), sum(len(message.body) for message in taken)


def write_day(raw: Path, day: int, hours: int) -> Written:
    """The slice again and again, an hour a part; each begins with a book snapshot, so the book has no gap."""
    events, wire_bytes = _slice()
    a_part = HOUR_NS // _SLICE_NS
    last_seq = int(events["seq"][-1])
    for hour in range(hours):
        pieces = []
        for within in range(a_part):
            piece = events.copy()
            shift_ns = day * DAY_NS + hour * HOUR_NS + within * _SLICE_NS
            for name in ("recv_ns", "event_ns"):
                piece[name] += shift_ns
            piece["seq"] += ((day * 24 + hour) * a_part + within) * last_seq
            piece["update_id"][piece["kind"] == KLINE] += shift_ns
            piece["px"][(piece["kind"] == TICKER) & (piece["field"] == NEXT_FUNDING)] += shift_ns
            pieces.append(piece)
        write_events(raw, INSTRUMENT, np.concatenate(pieces), part=f"{day:04d}-{hour:02d}")
    count = hours * a_part
    return Written(
        level_updates(events) * count, int(np.count_nonzero(events["flags"] & FIRST)) * count, wire_bytes * count
    )


def write_and_rebuild(folder: Path, hours: int) -> None:
    """The first day below a folder, raw and computed, in this process."""
    write_day(folder / "raw", 0, hours)
    _begin(folder)
    _rebuild_batch(folder, range(1))


def _begin(folder: Path) -> None:
    use_one_core()
    compile_kernel(_rebuild(folder).feature_set, KERNEL_CACHE).warm_up()


def _rebuild_batch(folder: Path, batch: range) -> _Done:
    rebuild = _rebuild(folder)
    first_ns, end_ns = (_BEGIN_NS + day * DAY_NS for day in (batch.start, batch.stop))
    rows = 0

    def every_day() -> None:
        nonlocal rows
        rows = sum(each.rows for each in rebuild_days([DayRange(rebuild, first_ns, end_ns - SECOND_NS)]))

    rebuild_s = seconds(every_day)
    for day in range(batch.start - 2, batch.stop - 2):  # the longest horizon is a day and some minutes
        delete_parts(rebuild.raw, _parts_of(rebuild.raw, day), used_by=())
    return _Done(rows, rebuild_s, peak_rss_mb())


def _rebuild(folder: Path) -> Rebuild:
    chosen = load_registry_version(VERSION).feature_set
    return Rebuild(RawData(folder / "raw"), FeatureLog(folder / "features"), KERNEL_CACHE, SYMBOL, chosen)


def _parts_of(raw: RawData, day: int) -> list[RawPart]:
    return [part for part in raw.parts(SYMBOL) if part.name.startswith(f"{day:04d}-")]


def _klines(folder: Path, days: int) -> Figure:
    """Every row of every feature of candles and time, from confirmed candles alone, as a backfill brings them."""
    for day in range(days):
        write_events(folder / "raw", INSTRUMENT, _candles_of_a_day(day), part=f"{day:04d}")
    workers = os.cpu_count() or 1
    chosen = _of_klines()
    compile_kernel(chosen, KERNEL_CACHE).warm_up()
    rebuild = Rebuild(RawData(folder / "raw"), FeatureLog(folder / "features"), KERNEL_CACHE, SYMBOL, chosen)
    rows = 0

    def all_days() -> None:
        nonlocal rows
        rows = sum(day.rows for day in rebuild_days([DayRange(rebuild)], engine=Pool(workers)))

    rebuild_s = seconds(all_days)
    return Figure(
        f"days: {days} days of klines, raw Parquet to feature log",
        rebuild_s,
        "s",
        "lower",
        yardstick="the same again, where every day stands",
        yardstick_value=seconds(all_days),
        goal="<= 30",
        details={"rows": rows or days * DAY_NS // SECOND_NS, "columns": len(chosen.columns), "workers": workers},
    )


def _of_klines() -> FeatureSet:
    whole = load_registry_version(VERSION).feature_set
    wanted = {column for group in whole.groups if group.name in KLINE_GROUPS for column in group.columns}
    return feature_set(VERSION, [column for column in whole.columns if column in wanted])


def _candles_of_a_day(day: int) -> Events:
    """1,440 candles that wander; each arrives a second after its end."""
    rng = np.random.default_rng([_SEED, day])
    close = 65_000_000 + rng.integers(-20_000, 20_001, 1440).cumsum()
    open_px = np.append(65_000_000, close[:-1])
    reach = rng.integers(0, 15_000, (2, 1440))
    values = np.stack(
        [
            open_px,
            np.maximum(open_px, close) + reach[0],
            np.minimum(open_px, close) - reach[1],
            close,
            rng.integers(1, 10**9, 1440),
            rng.integers(1, 10**15, 1440),
        ],
        axis=1,
    )
    assert values.shape[1] == KLINE_FIELD_COUNT == VOLUME + 2
    records = empty_events(values.size).reshape(values.shape)
    start_ns = _BEGIN_NS + day * DAY_NS + np.arange(1440) * MINUTE_NS
    records["recv_ns"] = (start_ns + MINUTE_NS + SECOND_NS)[:, None]
    records["event_ns"] = (start_ns + MINUTE_NS)[:, None]
    records["update_id"] = start_ns[:, None]
    records["seq"] = (day * 1440 + np.arange(1440) + 1)[:, None]
    records["kind"], records["flags"] = KLINE, CONFIRMED
    records["field"] = np.arange(KLINE_FIELD_COUNT)
    records["px"] = values
    for message in records:
        mark_message(message)
    return records.reshape(-1)
